"""Sentences that an engine says of picture after picture: no single row shows them, a whole partition does.

Users of published captions found them by the thousand (ShareGPT4V#12). So they are looked for when all batches of a partition
are there and before any is committed; rows that carry one are then treated as the policy says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from veclip_pipelines.captioning.fallbacks import fall_back
from veclip_pipelines.captioning.plan import Plan, read_units
from veclip_pipelines.captioning.results import Caption
from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.schemas.crawl_schemas import VECAP
from veclip_pipelines.tables.data_files import DataFile, find_file, read_file, table_of, write_file
from veclip_pipelines.tables.database import connection as open_connection

if TYPE_CHECKING:
    from veclip_pipelines.captioning.stage import BatchDone, Work

REASON = "boilerplate"
#: Shorter sentences ("a red car") can well be true of many pictures.
_WORDS = 5
_SENTENCES = r"regexp_split_to_array(lower(text), '[.!?]+(\s+|$)')"


def find_boilerplate(work: Work, plan: Plan, files: Sequence[DataFile]) -> frozenset[str]:
    """Sentences, in lower case, that stand in too many rows with different inputs.

    For a fusion what counts are different AltTexts: to say the same of the same text is no fault.
    """
    policy = work.engine.profile.guards
    if not files or REASON in policy.skip or work.engine.profile.is_imported:
        return frozenset()
    import pyarrow.dataset as pads  # imports pandas where it is installed, and only captioning steps need it

    warehouse = work.warehouse
    with open_connection() as connection:
        paths = [warehouse.path(work.spec, file.path) for file in files]
        connection.register("files", pads.dataset(paths, filesystem=warehouse.filesystem, format="parquet"))
        connection.register("plan", pads.dataset(plan.path, filesystem=warehouse.filesystem, format="parquet"))
        said_of = "alt_text" if work.spec is VECAP else "input_hash"
        counted = connection.execute(
            f"WITH said AS (SELECT DISTINCT {said_of} AS of, trim(unnest({_SENTENCES})) AS sentence "  # noqa: S608
            "FROM files JOIN plan USING (input_hash) WHERE route = 'engine'), "
            f"inputs AS (SELECT count(DISTINCT {said_of}) AS n FROM plan) "
            "SELECT sentence FROM said, inputs WHERE len(string_split(sentence, ' ')) >= ? "
            "GROUP BY sentence, n HAVING count(*) >= ? AND count(*) >= ? * n ORDER BY sentence",
            [_WORDS, policy.boilerplate_rows, policy.boilerplate_share],
        ).fetchall()
    return frozenset(row[0] for row in counted)


def mend_batches(
    work: Work, plan: Plan, done: Sequence[BatchDone], boilerplate: frozenset[str], runner: Runner
) -> list[DataFile]:
    """The files of all batches; those with boilerplate in them are written again, under another name."""
    if not boilerplate:
        return [batch.file for batch in done]
    mended = runner.run(partial(_mend, work, plan.path, boilerplate), done, label=f"{work.spec.name}-mend")
    return sorted(mended, key=lambda file: file.path)


def _mend(work: Work, plan: str, boilerplate: frozenset[str], done: BatchDone) -> DataFile:
    digest = hashlib.sha256("\n".join(sorted(boilerplate)).encode()).hexdigest()[:8]
    name = f"{done.batch.name}-{digest}"
    if file := find_file(work.warehouse, work.spec, work.partition, name):
        return file
    rows = read_file(work.warehouse, work.spec, done.file).to_pylist()
    units = {unit.input_hash: unit for unit in read_units(work.warehouse, plan, done.batch.index)}
    found = False
    for row in rows:
        if row["route"] == "engine" and _has(row["text"], boilerplate):
            found = True
            unit = units[row["input_hash"]]
            row.update(fall_back(work.engine.profile.guards.fallback(REASON), unit, _judged(row), REASON).row())
    if not found:
        return done.file
    return write_file(work.warehouse, work.spec, work.partition, name, table_of(work.spec, rows))


def _judged(row: Mapping[str, object]) -> Caption:
    """The row as it stands, with one fault more."""
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
