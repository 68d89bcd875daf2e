"""What all captioning steps share: reuse what is known, plan the rest, have each batch done once, commit once.

A result is looked up by (input_hash, engine_id), in all partitions, and reused; a failed one never is. A batch is one
Parquet file that its worker writes: results never pass through this process.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from duckdb import DuckDBPyConnection

from veclip_pipelines.captioning.boilerplate import find_boilerplate, mend_batches
from veclip_pipelines.captioning.captioning_step import BatchDone, BatchTask, CaptioningStep
from veclip_pipelines.captioning.plan import Plan, PlannedBatch, read_units, remove_plan, write_plan
from veclip_pipelines.captioning.results import caption_rows
from veclip_pipelines.captioning.stage_progress import ProgressMeter, Report, no_report
from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.engines.identity import record_engine
from veclip_pipelines.engines.loading import warm_up
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile, claim_file, find_file, read_file, table_of, write_file
from veclip_pipelines.tables.query import Asker, connect

_LOG = logging.getLogger(__name__)
_REUSED = (
    "text", "finish_reason", "token_count", "prompt_tokens", "route", "engine_text", "attempts", "faults", "reason", "detail",
)  # fmt: skip


@dataclass(frozen=True)
class StageResult:
    """What a captioning step did, in rows and in batches."""

    engine_id: str
    rows: int
    computed: int
    reused: int
    batches_run: int
    batches_found: int
    delta_version: int
    changed: bool
    boilerplate: int = 0


def run_stage(
    step: CaptioningStep, runner: Runner, *, properties: Mapping[str, str], report: Report = no_report
) -> StageResult:
    """Replaces one engine's captions of a crawl partition by captions for exactly the units of its query."""
    warehouse, spec, engine = step.warehouse, step.spec, step.engine
    table = warehouse.open(spec)
    expected = partition_files(table, step.partition)
    with ExitStack() as ended:
        # A connection of its own, as two cursors read the tables that it makes.
        with connect(warehouse, {spec.name, *step.tables}, alone=True) as connection:
            rows, reused_units, reused = _prepare(connection, step)
            if table is not None and expected and reused == rows and _holds_exactly(connection, step):
                return StageResult(engine.engine_id, rows, 0, reused, 0, 0, table.version(), changed=False)
            if reused < rows and not engine.profile.is_imported:
                # Workers load their model while the plan is written.
                warm = runner.everywhere(partial(warm_up, engine), label=f"warm-{engine.engine_id[:8]}")
                ended.enter_context(warm)
            record_engine(warehouse, engine, properties=properties)
            salt = _salt(expected)
            files = [_write_reused(connection, step, salt)] if reused_units else []
            plan = write_plan(
                warehouse,
                connection,
                "SELECT units.* EXCLUDE (place) FROM units ANTI JOIN known USING (input_hash) ORDER BY place",
                place=f"{spec.name}/{step.crawl_partition}.{engine.engine_id}",
                batch_rows=engine.profile.batch_rows,
                salt=salt,
            )
            ended.callback(remove_plan, warehouse, plan)
        # The tables of the plan are gone with the connection: from here on this process holds no rows.
        done = _run_batches(step, plan, runner, rows - reused, report)
        boilerplate = find_boilerplate(step, plan, [batch.file for batch in done])
        files += mend_batches(step, plan, done, boilerplate, runner)
    if not files:
        files.append(write_file(warehouse, spec, step.partition, "no-rows", table_of(spec, [])))
    started = time.monotonic()
    commit = replace_partition(warehouse, spec, step.partition, files, expected=expected, properties=properties)
    _LOG.info(
        "%s %s: %d files committed in %.2f s", spec.name, step.crawl_partition, len(files), time.monotonic() - started
    )
    found = sum(batch.found for batch in done)
    counts = (rows, rows - reused, reused, len(done) - found, found)
    return StageResult(engine.engine_id, *counts, commit.version, commit.written, len(boilerplate))


def do_batch(task: BatchTask, batch: PlannedBatch) -> BatchDone:
    """Uses the batch's file if it is there, else computes and writes it. Runs on a worker, whose engine stays loaded."""
    step = task.step
    file = find_file(step.warehouse, step.spec, step.partition, batch.name)
    found = file is not None
    if file is None:
        units = read_units(step.warehouse, task.plan, batch.index)
        captions = step.compute(step.engine, units)
        rows = caption_rows(step.spec.keys[0], step.columns, units, captions)
        file = write_file(step.warehouse, step.spec, step.partition, batch.name, table_of(step.spec, rows))
    counts = read_file(step.warehouse, step.spec, file, columns=["outcome", "token_count"])
    rejected = sum(outcome != KEPT for outcome in counts["outcome"].to_pylist())
    return BatchDone(batch, file, found, rejected, sum(counts["token_count"].to_pylist()))


def _run_batches(step: CaptioningStep, plan: Plan, runner: Runner, rows: int, report: Report) -> list[BatchDone]:
    meter = ProgressMeter(step.spec.name, step.crawl_partition, rows, len(plan.batches))
    done: list[BatchDone] = []
    # The last batches first, which are the longest where the plan is sorted by length: so all workers end together.
    batches = plan.batches[::-1]
    for came in runner.run_tasks(partial(do_batch, BatchTask(step, plan.path)), batches, label=step.spec.name):
        done += came
        for batch in came:
            meter.add(batch.batch.rows, batch.rejected, 0 if batch.found else batch.tokens, batch.found)
        report(meter.progress())
    # In the order of the plan and not of their arrival, so that the commit is the same whatever the load was.
    return sorted(done, key=lambda one: one.batch.index)


def _prepare(connection: DuckDBPyConnection, step: CaptioningStep) -> tuple[int, int, int]:
    """Makes the tables ``units`` and ``known``; rows in all, and units and rows whose caption is known."""
    # One query: the order is kept in a column, so that no later step depends on how DuckDB scans.
    connection.execute(
        f"CREATE TABLE units AS SELECT *, row_number() OVER () AS place FROM ({step.units})",  # noqa: S608
        dict(step.parameters),
    )
    connection.execute(
        f"CREATE TABLE known AS SELECT input_hash, {', '.join(_REUSED)} FROM {step.spec.name} "  # noqa: S608
        f"SEMI JOIN units USING (input_hash) WHERE engine_id = ? AND outcome = '{KEPT}' "
        f"QUALIFY row_number() OVER (PARTITION BY input_hash ORDER BY crawl_partition, {step.spec.keys[0]}) = 1",
        [step.engine.engine_id],
    )
    counted = Asker(connection).row(
        "SELECT coalesce(sum(len(keys)), 0), count(known.input_hash), coalesce(sum(len(keys)) FILTER (known.input_hash IS NOT NULL), 0) "
        "FROM units LEFT JOIN known USING (input_hash)"
    )
    return int(counted[0]), int(counted[1]), int(counted[2])


def _holds_exactly(connection: DuckDBPyConnection, step: CaptioningStep) -> bool:
    """Whether the partition holds a kept caption for each unit and row, and nothing else."""
    key = step.spec.keys[0]
    held, wanted, same = Asker(connection).row(
        f"WITH held AS (SELECT {key} AS key, input_hash, outcome FROM {step.spec.name} WHERE crawl_partition = $crawl_partition "  # noqa: S608
        "AND engine_id = $engine_id), wanted AS (SELECT unnest(keys) AS key, input_hash FROM units) "
        f"SELECT (SELECT count(*) FROM held), (SELECT count(*) FROM wanted), "
        f"(SELECT count(*) FROM wanted SEMI JOIN (FROM held WHERE outcome = '{KEPT}') USING (key, input_hash))",
        step.partition,
    )
    return bool(held == wanted == same)


def _write_reused(connection: DuckDBPyConnection, step: CaptioningStep, salt: str) -> DataFile:
    """One file with the rows whose captions are known, in a stream."""
    spec, key = step.spec, step.spec.keys[0]
    (named,) = Asker(connection).row(
        "SELECT bit_xor(md5_number(input_hash || chr(10) || array_to_string(keys, ','))) FROM units SEMI JOIN known USING (input_hash)"
    )
    name = f"reused-{hashlib.sha256(f'{salt}{named}'.encode()).hexdigest()[:16]}"
    if file := find_file(step.warehouse, spec, step.partition, name):
        return file
    constant = {**step.columns, "outcome": KEPT}
    columns = [
        f"key AS {column}" if column == key else f"${column} AS {column}" if column in constant else column
        for column in spec.file_schema.names
    ]
    reader = (
        connection.cursor()
        .sql(
            f"SELECT {', '.join(columns)} FROM (SELECT unnest(keys) AS key, input_hash, known.* EXCLUDE (input_hash) FROM units "  # noqa: S608
            "JOIN known USING (input_hash)) ORDER BY key",
            params=constant,
        )
        .to_arrow_reader()
    )
    return claim_file(step.warehouse, spec, step.partition, name, reader.cast(spec.file_schema))[0]


def _salt(expected: frozenset[str]) -> str:
    """What the partition held before goes into each batch's name.

    After a commit the names are new, so that a batch with a row that failed is not taken for done; after a crash they
    are the same.
    """
    return hashlib.sha256("\n".join(sorted(expected)).encode()).hexdigest()
