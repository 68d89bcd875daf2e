"""What all captioning steps share: reuse what is known, plan the rest, have each batch done once, commit once.

Work is found again by (input_hash, engine_id), in all partitions; a failed result never is. A batch is one Parquet file that
its worker writes: results never pass through this process.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from duckdb import DuckDBPyConnection

from veclip_pipelines.captioning.boilerplate import find_boilerplate, mend_batches
from veclip_pipelines.captioning.plan import Plan, PlannedBatch, Unit, read_units, remove_plan, write_plan
from veclip_pipelines.captioning.results import Caption, caption_rows
from veclip_pipelines.captioning.stage_progress import ProgressMeter, Report, no_report
from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.engines.identity import EngineSpec, record_engine
from veclip_pipelines.engines.loading import warm_up
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile, claim_file, find_file, read_file, table_of, write_file
from veclip_pipelines.tables.query import connect
from veclip_pipelines.tables.warehouse import Warehouse

_LOG = logging.getLogger(__name__)
_REUSED = (
    "text", "finish_reason", "token_count", "prompt_tokens", "route", "engine_text", "attempts", "faults", "reason", "detail",
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """One captioning step of one crawl partition.

    Attributes:
        units: query for the columns of the plan (captioning/plan.py), in the order in which they are cut into batches.
        parameters: its parameters.
        tables: tables that it reads.
        compute: captions for the units of one batch; runs on a worker.
        columns: values that each row of the partition has beside its caption.
    """

    warehouse: Warehouse
    spec: TableSpec
    engine: EngineSpec
    crawl_partition: str
    units: str
    parameters: Mapping[str, object]
    tables: tuple[str, ...]
    compute: Callable[[EngineSpec, Sequence[Unit]], list[Caption]]
    columns: Mapping[str, str | None]

    @property
    def partition(self) -> dict[str, str]:
        return {"crawl_partition": self.crawl_partition, "engine_id": self.engine.engine_id}


@dataclass(frozen=True)
class BatchTask:
    """What a worker gets to know of all batches; which one it is to do comes with each."""

    work: Work
    plan: str


@dataclass(frozen=True)
class BatchDone:
    """A finished batch: its file, whether an earlier run had finished it, and what it came to."""

    batch: PlannedBatch
    file: DataFile
    found: bool
    rejected: int
    tokens: int


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


def run_stage(work: Work, runner: Runner, *, properties: Mapping[str, str], report: Report = no_report) -> StageResult:
    """Replaces one engine's captions of a crawl partition by captions for exactly the units of its query."""
    warehouse, spec, engine = work.warehouse, work.spec, work.engine
    table = warehouse.open(spec)
    expected = partition_files(table, work.partition)
    with ExitStack() as ended:
        # Alone, as two cursors read the tables that it makes.
        with connect(warehouse, {spec.name, *work.tables}, alone=True) as connection:
            rows, reused_units, reused = _prepare(connection, work)
            if table is not None and expected and reused == rows and _holds_exactly(connection, work):
                return StageResult(engine.engine_id, rows, 0, reused, 0, 0, table.version(), changed=False)
            if reused < rows and not engine.profile.is_imported:
                # Workers load their model while the plan is written.
                warm = runner.everywhere(partial(warm_up, engine), label=f"warm-{engine.engine_id[:8]}")
                ended.enter_context(warm)
            record_engine(warehouse, engine, properties=properties)
            salt = _salt(expected)
            files = [_write_reused(connection, work, salt)] if reused_units else []
            plan = write_plan(
                warehouse,
                connection,
                "SELECT units.* EXCLUDE (place) FROM units ANTI JOIN known USING (input_hash) ORDER BY place",
                place=f"{spec.name}/{work.crawl_partition}.{engine.engine_id}",
                batch_rows=engine.profile.batch_rows,
                salt=salt,
            )
            ended.callback(remove_plan, warehouse, plan)
        # The tables of the plan are gone with the connection: from here on this process holds no rows.
        done = _run_batches(work, plan, runner, rows - reused, report)
        boilerplate = find_boilerplate(work, plan, [batch.file for batch in done])
        files += mend_batches(work, plan, done, boilerplate, runner)
    if not files:
        files.append(write_file(warehouse, spec, work.partition, "no-rows", table_of(spec, [])))
    started = time.monotonic()
    commit = replace_partition(warehouse, spec, work.partition, files, expected=expected, properties=properties)
    _LOG.info(
        "%s %s: %d files committed in %.2f s", spec.name, work.crawl_partition, len(files), time.monotonic() - started
    )
    found = sum(batch.found for batch in done)
    counts = (rows, rows - reused, reused, len(done) - found, found)
    return StageResult(engine.engine_id, *counts, commit.version, commit.written, len(boilerplate))


def do_batch(task: BatchTask, batch: PlannedBatch) -> BatchDone:
    """Takes up the batch's file if it is there, else computes and writes it. Runs on a worker, whose engine stays loaded."""
    work = task.work
    file = find_file(work.warehouse, work.spec, work.partition, batch.name)
    found = file is not None
    if file is None:
        units = read_units(work.warehouse, task.plan, batch.index)
        captions = work.compute(work.engine, units)
        rows = caption_rows(work.spec.keys[0], work.columns, units, captions)
        file = write_file(work.warehouse, work.spec, work.partition, batch.name, table_of(work.spec, rows))
    counts = read_file(work.warehouse, work.spec, file, columns=["outcome", "token_count"])
    rejected = sum(outcome != KEPT for outcome in counts["outcome"].to_pylist())
    return BatchDone(batch, file, found, rejected, sum(counts["token_count"].to_pylist()))


def _run_batches(work: Work, plan: Plan, runner: Runner, rows: int, report: Report) -> list[BatchDone]:
    meter = ProgressMeter(work.spec.name, work.crawl_partition, rows, len(plan.batches))
    done: list[BatchDone] = []
    # The last batches first, which are the longest where the plan is sorted by length: so all workers end together.
    batches = plan.batches[::-1]
    for came in runner.run_tasks(partial(do_batch, BatchTask(work, plan.path)), batches, label=work.spec.name):
        done += came
        for batch in came:
            meter.add(batch.batch.rows, batch.rejected, 0 if batch.found else batch.tokens, batch.found)
        report(meter.progress())
    # In the order of the plan, and not in that of their coming: so the commit is the same whatever the load was.
    return sorted(done, key=lambda one: one.batch.index)


def _prepare(connection: DuckDBPyConnection, work: Work) -> tuple[int, int, int]:
    """Makes the tables ``units`` and ``known``; rows in all, and units and rows whose caption is known."""
    # One query: the order is kept in a column, so that no later step depends on how DuckDB scans.
    connection.execute(
        f"CREATE TABLE units AS SELECT *, row_number() OVER () AS place FROM ({work.units})",  # noqa: S608
        dict(work.parameters),
    )
    connection.execute(
        f"CREATE TABLE known AS SELECT input_hash, {', '.join(_REUSED)} FROM {work.spec.name} "  # noqa: S608
        f"SEMI JOIN units USING (input_hash) WHERE engine_id = ? AND outcome = '{KEPT}' "
        f"QUALIFY row_number() OVER (PARTITION BY input_hash ORDER BY crawl_partition, {work.spec.keys[0]}) = 1",
        [work.engine.engine_id],
    )
    counted = connection.execute(
        "SELECT coalesce(sum(len(keys)), 0), count(known.input_hash), coalesce(sum(len(keys)) FILTER (known.input_hash IS NOT NULL), 0) "
        "FROM units LEFT JOIN known USING (input_hash)"
    ).fetchone()
    assert counted is not None
    return int(counted[0]), int(counted[1]), int(counted[2])


def _holds_exactly(connection: DuckDBPyConnection, work: Work) -> bool:
    """Whether the partition holds a kept caption for each unit and row, and nothing else."""
    key = work.spec.keys[0]
    found = connection.execute(
        f"WITH held AS (SELECT {key} AS key, input_hash, outcome FROM {work.spec.name} WHERE crawl_partition = $crawl_partition "  # noqa: S608
        "AND engine_id = $engine_id), wanted AS (SELECT unnest(keys) AS key, input_hash FROM units) "
        f"SELECT (SELECT count(*) FROM held), (SELECT count(*) FROM wanted), "
        f"(SELECT count(*) FROM wanted SEMI JOIN (FROM held WHERE outcome = '{KEPT}') USING (key, input_hash))",
        work.partition,
    ).fetchone()
    assert found is not None
    return bool(found[0] == found[1] == found[2])


def _write_reused(connection: DuckDBPyConnection, work: Work, salt: str) -> DataFile:
    """One file with the rows whose captions are known, in a stream."""
    spec, key = work.spec, work.spec.keys[0]
    named = connection.execute(
        "SELECT bit_xor(md5_number(input_hash || chr(10) || array_to_string(keys, ','))) FROM units SEMI JOIN known USING (input_hash)"
    ).fetchone()
    assert named is not None
    name = f"reused-{hashlib.sha256(f'{salt}{named[0]}'.encode()).hexdigest()[:16]}"
    if file := find_file(work.warehouse, spec, work.partition, name):
        return file
    constant = {**work.columns, "outcome": KEPT}
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
    return claim_file(work.warehouse, spec, work.partition, name, reader.cast(spec.file_schema))[0]


def _salt(expected: frozenset[str]) -> str:
    """What the partition held before goes into each batch's name.

    So that a batch with a row that failed is not taken for done once it is committed: after a commit the names are new,
    after a crash they are the same.
    """
    return hashlib.sha256("\n".join(sorted(expected)).encode()).hexdigest()
