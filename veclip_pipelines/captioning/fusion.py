"""VeCap: AltText and concept caption of a sample, fused into one short sentence (paper, section 3.2).

An engine that sees pictures fuses the AltText with the picture itself (AltText-fused captions of the follow-up work,
arXiv 2410.02740): then no concept caption is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from veclip_pipelines.captioning.asking import ask
from veclip_pipelines.captioning.fallbacks import fall_back
from veclip_pipelines.captioning.guards import Case, first_fault
from veclip_pipelines.captioning.picture_batches import PictureReader
from veclip_pipelines.captioning.plan import Unit
from veclip_pipelines.captioning.relatedness import UNRELATED, unrelated_pairs
from veclip_pipelines.captioning.results import Caption
from veclip_pipelines.captioning.stage import StageResult, Work, run_stage
from veclip_pipelines.captioning.stage_progress import Report, no_report
from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.engines.base import EngineText, TextBatch
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.registry import KINDS
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.media.texts import descriptive_part
from veclip_pipelines.schemas.crawl_schemas import VECAP
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.tables.query import connect
from veclip_pipelines.tables.warehouse import Warehouse

CODE_VERSION = "vecap.2"

_ASKED_AT_A_TIME = 4096
#: Columns of drops that hold an image-text similarity: LAION, DataComp, Recap-DataComp-1B.
_SIMILARITIES = ("similarity", "clip_b32_similarity_score", "clip_l14_similarity_score", "org_clip_score")
#: What is known beforehand of AltText and picture: the AltText is a page's furniture, or the drop's own score is low.
_UNRELATED_SQL = f"""CASE WHEN list_contains(flags, 'boilerplate') THEN 'the AltText is what a page says of any picture'
    WHEN coalesce({", ".join(f"TRY_CAST(json_extract_string(extra, '$.{name}') AS DOUBLE)" for name in _SIMILARITIES)})
    < $minimum_similarity THEN 'the drop''s image-text similarity is low' END"""
_UNITS = f"""
    WITH samples AS (
        SELECT r.sample_id, coalesce(r.alt_text, '') AS alt_text, {{concept}} AS concept, r.shard_uri, r.image_offset,
               r.image_length, r.image_sha256, {_UNRELATED_SQL} AS unrelated
        FROM raw_crawl r {{join}} WHERE r.crawl_partition = $partition AND r.outcome = '{KEPT}'),
    hashed AS (SELECT *, sha256(alt_text || chr(0) || {{seen}} || chr(0) || $source
                      || coalesce(chr(0) || unrelated, '')) AS input_hash FROM samples)
    SELECT input_hash, list(sample_id ORDER BY sample_id) AS keys, first(shard_uri ORDER BY sample_id) AS shard_uri,
           first(image_offset ORDER BY sample_id) AS image_offset, first(image_length ORDER BY sample_id) AS image_length,
           first(image_sha256 ORDER BY sample_id) AS image_sha256, any_value(alt_text) AS alt_text,
           any_value(concept) AS concept, any_value(unrelated) AS unrelated
    FROM hashed GROUP BY input_hash ORDER BY any_value(len(alt_text) + len(concept)), input_hash"""  # noqa: S608
_JOIN = (
    "LEFT JOIN concept_captions c ON c.image_sha256 = r.image_sha256 AND c.crawl_partition = r.crawl_partition "
    "AND c.engine_id = $source"
)
#: What stands for the concept caption's engine in the hash of an input whose engine sees the picture itself.
_PICTURE = "picture"


def fuse_partition(
    warehouse: Warehouse,
    engine: EngineSpec,
    concept_engine: EngineSpec | None,
    crawl_partition: str,
    runner: Runner,
    *,
    properties: Mapping[str, str],
    report: Report = no_report,
) -> StageResult:
    """Fuses each kept sample of a crawl partition with its picture's concept caption, or with the picture.

    Args:
        concept_engine: whose concept captions; None where the fusing engine sees pictures.

    Raises:
        VeclipError: the partition has pictures and no concept captions by that engine.
    """
    minimum = engine.profile.guards.minimum_similarity
    parameters: dict[str, object] = {"partition": crawl_partition, "minimum_similarity": minimum}
    if concept_engine is None:
        units = _UNITS.format(concept="''", join="", seen="image_sha256")
        parameters["source"] = _PICTURE
        tables: tuple[str, ...] = ("raw_crawl",)
    else:
        _require_concepts(warehouse, concept_engine, crawl_partition)
        units = _UNITS.format(concept="coalesce(c.text, '')", join=_JOIN, seen="concept")
        parameters["source"] = concept_engine.engine_id
        tables = ("raw_crawl", "concept_captions")
    columns = {"concept_engine_id": concept_engine.engine_id if concept_engine else None}
    work = Work(warehouse, VECAP, engine, crawl_partition, units, parameters, tables, fuse_units, columns)
    return run_stage(work, runner, properties=properties, report=report)


def fuse_units(spec: EngineSpec, units: Sequence[Unit]) -> list[Caption]:
    """Fuses the units of one batch."""
    kind = KINDS[spec.profile.kind]
    sees = kind.sees
    fields = [{"alt_text": descriptive_part(unit.alt_text), "concept": unit.concept} for unit in units]
    unrelated = {place: unit.unrelated for place, unit in enumerate(units) if unit.unrelated}
    # Nothing to fuse where one of the two says nothing: the engine is not asked, and cannot make something up.
    asked = [
        place
        for place, values in enumerate(fields)
        if kind.asked and values["alt_text"] and (sees or values["concept"]) and place not in unrelated
    ]
    if not sees:
        unrelated |= unrelated_pairs(spec, fields, asked)
        asked = [place for place in asked if place not in unrelated]
    reader = PictureReader(units, fields)

    def judge(place: int, answer: EngineText) -> str | None:
        unit = units[place]
        return first_fault(Case(answer, spec.prompt, unit.alt_text, unit.concept, sees), spec.profile.guards)

    def texts(places: Sequence[int], attempt: int) -> Iterator[tuple[Sequence[int], TextBatch]]:
        for start in range(0, len(places), _ASKED_AT_A_TIME):
            part = places[start : start + _ASKED_AT_A_TIME]
            keys = tuple(units[place].input_hash for place in part)
            yield part, TextBatch(tuple(fields[place] for place in part), keys, attempt)

    found = ask(spec, asked, reader.batches if sees else texts, tidy_fusion, judge)
    found |= reader.unreadable
    return [_settled(spec, unit, found.get(place), unrelated.get(place)) for place, unit in enumerate(units)]


def tidy_fusion(answer: EngineText) -> EngineText:
    """An answer without quotes around it."""
    return replace(answer, text=answer.text.strip().strip('"“”').strip())


def _settled(spec: EngineSpec, unit: Unit, caption: Caption | None, unrelated: str | None) -> Caption:
    if caption is not None and caption.text is not None:
        return caption
    policy = spec.profile.guards
    if unrelated is not None:
        judged = Caption(None, None, detail=unrelated, faults=(UNRELATED,))
        return fall_back(policy.by_guard.get(UNRELATED, "concept"), unit, judged, UNRELATED)
    if caption is not None:
        assert caption.reason is not None
        return fall_back(policy.fallback(caption.reason), unit, caption, caption.reason)
    plain = fall_back("template", unit, Caption(None, None), "nothing_to_fuse")
    # To have only one of the two is no fault: the row is kept without a reason.
    nothing = "neither AltText nor concept caption says anything"
    return replace(plain, detail=nothing) if plain.text is None else replace(plain, reason=None)


def _require_concepts(warehouse: Warehouse, concept_engine: EngineSpec, crawl_partition: str) -> None:
    with connect(warehouse, ["raw_crawl", "concept_captions"]) as connection:
        found = connection.execute(
            "SELECT count(*), count(c.image_sha256) FROM raw_crawl r LEFT JOIN concept_captions c "  # noqa: S608
            "ON c.image_sha256 = r.image_sha256 AND c.crawl_partition = r.crawl_partition AND c.engine_id = $engine "
            f"WHERE r.crawl_partition = $partition AND r.outcome = '{KEPT}'",
            {"engine": concept_engine.engine_id, "partition": crawl_partition},
        ).fetchone()
    assert found is not None
    if missing := found[0] - found[1]:
        raise VeclipError(
            f"crawl partition {crawl_partition!r}: {missing} of {found[0]} samples have no concept caption by profile "
            f"{concept_engine.profile.name!r} as it is now. Materialise concept_captions with that profile first."
        )
