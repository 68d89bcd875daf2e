"""VeCap: AltText and concept caption of a sample, fused into one short sentence (paper, section 3.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from veclip_pipelines.captioning.guards import FusionCase, first_fault
from veclip_pipelines.captioning.stage import (
    BatchDone,
    BatchTask,
    Caption,
    StageResult,
    Unit,
    finish_batch,
    run_stage,
)
from veclip_pipelines.captioning.template_join import template_join
from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.loading import text_engine
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.fanout import Runner, stop_if_cancelled
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.schemas import KEPT, VECAP
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.texts import descriptive_part

CODE_VERSION = "vecap.1"


def fuse_partition(
    warehouse: Warehouse,
    engine: EngineSpec,
    concept_engine: EngineSpec,
    crawl_partition: str,
    runner: Runner,
    *,
    properties: Mapping[str, str],
) -> StageResult:
    """Fuses each kept sample of a crawl partition with its picture's concept caption by ``concept_engine``."""
    units = sample_units(warehouse, concept_engine, crawl_partition)
    return run_stage(warehouse, VECAP, engine, crawl_partition, units, fuse_samples, runner, properties=properties)


def input_hash_of(alt_text: str, concept: str, concept_engine_id: str) -> str:
    """Hash of a VeCap's input: the clean AltText, the concept caption and the engine that said it."""
    return hashlib.sha256("\0".join((alt_text, concept, concept_engine_id)).encode()).hexdigest()


def sample_units(warehouse: Warehouse, concept_engine: EngineSpec, crawl_partition: str) -> list[Unit]:
    """What there is to fuse, equal inputs together, sorted by length so that a batch wastes little on padding.

    Raises:
        VeclipError: the partition has pictures and no concept captions by that engine.
    """
    rows = read_rows(
        warehouse,
        "SELECT r.sample_id, coalesce(r.alt_text, '') AS alt_text, coalesce(c.text, '') AS concept, "  # noqa: S608
        "c.image_sha256 IS NOT NULL AS captioned FROM raw_crawl r LEFT JOIN concept_captions c "
        "ON c.image_sha256 = r.image_sha256 AND c.crawl_partition = r.crawl_partition AND c.engine_id = ? "
        f"WHERE r.crawl_partition = ? AND r.outcome = '{KEPT}' ORDER BY r.sample_id",
        [concept_engine.engine_id, crawl_partition],
        tables=["raw_crawl", "concept_captions"],
    )
    if missing := sum(not row["captioned"] for row in rows):
        raise VeclipError(
            f"crawl partition {crawl_partition!r}: {missing} of {len(rows)} samples have no concept caption by profile "
            f"{concept_engine.profile.name!r} as it is now. Materialise concept_captions with that profile first."
        )
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(input_hash_of(row["alt_text"], row["concept"], concept_engine.engine_id), []).append(row)
    units = [
        Unit(
            digest,
            tuple(row["sample_id"] for row in group),
            columns={"concept_engine_id": concept_engine.engine_id},
            fields={"alt_text": group[0]["alt_text"], "concept": group[0]["concept"]},
        )
        for digest, group in groups.items()
    ]
    return sorted(units, key=lambda unit: (sum(map(len, unit.fields.values())), unit.input_hash))


def fuse_samples(task: BatchTask) -> BatchDone:
    """One batch: asks the engine, judges its answers, writes. Runs on a worker, whose engine stays loaded."""
    return finish_batch(task, _fuse)


def _fuse(task: BatchTask) -> list[Caption]:
    # Nothing to fuse where one of the two says nothing: the engine is not asked, and cannot make something up.
    questions = {
        unit.input_hash: {
            "alt_text": descriptive_part(unit.fields["alt_text"]),
            "concept": unit.fields["concept"],
        }
        for unit in task.units
    }
    asked = [digest for digest, fields in questions.items() if all(fields.values())]
    answers: dict[str, EngineText] = {}
    size = task.engine.profile.batch_rows
    for start in range(0, len(asked), size):
        stop_if_cancelled()
        batch = asked[start : start + size]
        replies = text_engine(task.engine).generate([questions[digest] for digest in batch])
        answers.update(zip(batch, replies, strict=True))
    return [_judge(task.engine, unit, answers.get(unit.input_hash)) for unit in task.units]


def _judge(engine: EngineSpec, unit: Unit, answer: EngineText | None) -> Caption:
    alt_text, concept = unit.fields["alt_text"], unit.fields["concept"]
    fault = None
    if answer is not None:
        assert engine.prompt is not None
        answer = EngineText(answer.text.strip().strip('"“”').strip(), answer.finish_reason, answer.token_count)
        fault = first_fault(FusionCase(answer, alt_text, concept, engine.prompt))
        if fault is None:
            return Caption(answer.text, "engine", answer)
    text, route = template_join(alt_text, concept)
    if not any(char.isalnum() for char in text):
        return Caption(
            None,
            None,
            answer,
            reason="nothing_to_fuse",
            detail="neither AltText nor concept caption says anything",
        )
    return Caption(text, route, answer, reason=fault)
