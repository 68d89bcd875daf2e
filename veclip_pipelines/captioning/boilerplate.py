"""Sentences that an engine repeats for picture after picture: a single row does not reveal them, a whole partition does.

Users of published captions found them by the thousand (ShareGPT4V#12). So they are looked for once all batches of a
partition are there and before any is committed; rows that hold one are then handled as the policy says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial

from veclip_pipelines.captioning.captioning_step import BatchDone, CaptioningStep
from veclip_pipelines.captioning.fallbacks import fall_back
from veclip_pipelines.captioning.plan import Plan, read_units
from veclip_pipelines.captioning.results import Caption
from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.schemas.crawl_schemas import VECAP
from veclip_pipelines.tables.data_files import DataFile, find_file, read_file, table_of, write_file
from veclip_pipelines.tables.database import connection as open_connection
from veclip_pipelines.tables.query import Asker

REASON = "boilerplate"
#: Shorter sentences ("a red car") can well be true of many pictures.
_WORDS = 5
_SENTENCES = r"regexp_split_to_array(lower(text), '[.!?]+(\s+|$)')"


def find_boilerplate(step: CaptioningStep, plan: Plan, files: Sequence[DataFile]) -> frozenset[str]:
    """Sentences, in lower case, that occur in too many rows with different inputs.

    For a fusion, different AltTexts are counted: giving the same answer to the same text is no fault.
    """
    policy = step.engine.profile.guards
    if not files or REASON in policy.skip or step.engine.profile.is_imported:
        return frozenset()
    import pyarrow.dataset as pads  # imports pandas where it is installed, and only captioning steps need it

    warehouse = step.warehouse
    with open_connection() as connection:
        paths = [warehouse.path(step.spec, file.path) for file in files]
        connection.register("files", pads.dataset(paths, filesystem=warehouse.filesystem, format="parquet"))
        connection.register("plan", pads.dataset(plan.path, filesystem=warehouse.filesystem, format="parquet"))
        said_of = "alt_text" if step.spec is VECAP else "input_hash"
        counted = Asker(connection)(
            f"WITH said AS (SELECT DISTINCT {said_of} AS of, trim(unnest({_SENTENCES})) AS sentence "  # noqa: S608
            "FROM files JOIN plan USING (input_hash) WHERE route = 'engine'), "
            f"inputs AS (SELECT count(DISTINCT {said_of}) AS n FROM plan) "
            "SELECT sentence FROM said, inputs WHERE len(string_split(sentence, ' ')) >= ? "
            "GROUP BY sentence, n HAVING count(*) >= ? AND count(*) >= ? * n ORDER BY sentence",
            [_WORDS, policy.boilerplate_rows, policy.boilerplate_share],
        )
    return frozenset(row["sentence"] for row in counted)


def mend_batches(
    step: CaptioningStep, plan: Plan, done: Sequence[BatchDone], boilerplate: frozenset[str], runner: Runner
) -> list[DataFile]:
    """The files of all batches; those that contain boilerplate are written again, under another name."""
    if not boilerplate:
        return [batch.file for batch in done]
    mended = runner.run(partial(_mend, step, plan.path, boilerplate), done, label=f"{step.spec.name}-mend")
    return sorted(mended, key=lambda file: file.path)


def _mend(step: CaptioningStep, plan: str, boilerplate: frozenset[str], done: BatchDone) -> DataFile:
    digest = hashlib.sha256("\n".join(sorted(boilerplate)).encode()).hexdigest()[:8]
    name = f"{done.batch.name}-{digest}"
    if file := find_file(step.warehouse, step.spec, step.partition, name):
        return file
    rows = read_file(step.warehouse, step.spec, done.file).to_pylist()
    units = {unit.input_hash: unit for unit in read_units(step.warehouse, plan, done.batch.index)}
    found = False
    for row in rows:
        if row["route"] == "engine" and _has(row["text"], boilerplate):
            found = True
            unit = units[row["input_hash"]]
            row.update(fall_back(step.engine.profile.guards.fallback(REASON), unit, _judged(row), REASON).row())
    if not found:
        return done.file
    return write_file(step.warehouse, step.spec, step.partition, name, table_of(step.spec, rows))


def _judged(row: Mapping[str, object]) -> Caption:
    """The row as it is, with one more fault."""
    answer = EngineText(
        str(row["engine_text"]),
        str(row["finish_reason"]),  # type: ignore[arg-type]
        int(str(row["token_count"])),
        int(str(row["prompt_tokens"])),
    )
    faults = row["faults"]
    assert isinstance(faults, list)
    seen = tuple(sorted({*faults, REASON}))
    return Caption(None, None, answer, faults=seen, attempts=int(str(row["attempts"])))


def _has(text: str, boilerplate: frozenset[str]) -> bool:
    lowered = text.lower()
    return any(sentence in lowered for sentence in boilerplate)
