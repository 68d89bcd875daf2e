"""What both captioning steps share: reuse what is known, cut the rest into batches, write each batch once, commit once.

Work is found again by (input_hash, engine_id), in all partitions; a failed result never is. A batch is one Dask task and
one Parquet file, named by what is in it: a run that was killed leaves finished batches that the next one takes up.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.identity import EngineSpec, record_engine
from veclip_pipelines.fanout import Runner
from veclip_pipelines.shards import ByteRange
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile, find_file, table_of, write_file
from veclip_pipelines.tables.query import connect
from veclip_pipelines.tables.schemas import KEPT, REJECTED
from veclip_pipelines.tables.spec import TableSpec
from veclip_pipelines.tables.warehouse import Warehouse

_LOG = logging.getLogger(__name__)
_REUSED = ("text", "finish_reason", "token_count", "route", "engine_text", "reason", "detail")


@dataclass(frozen=True)
class Unit:
    """One piece of work and the rows that its result is for.

    Attributes:
        input_hash: hash of all that the result depends on, the engine apart.
        keys: the rows' keys (pictures or samples); equal inputs are computed once and written for each key.
        columns: further columns of those rows.
        picture: where the picture is, for a concept caption.
        fields: what the prompt is filled with, for a VeCap.
    """

    input_hash: str
    keys: tuple[str, ...]
    columns: Mapping[str, str | None] = field(default_factory=dict)
    picture: ByteRange | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Caption:
    """The result of a unit: a text with its route, or a reject with its reason."""

    text: str | None
    route: str | None
    answer: EngineText | None = None
    reason: str | None = None
    detail: str | None = None

    def row(self) -> dict[str, object]:
        return {
            "text": self.text,
            "route": self.route,
            "finish_reason": self.answer.finish_reason if self.answer else "skipped",
            "token_count": self.answer.token_count if self.answer else 0,
            "engine_text": self.answer.text if self.answer else None,
            "outcome": REJECTED if self.text is None else KEPT,
            "reason": self.reason,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class BatchTask:
    """One task as it goes to a worker."""

    warehouse: Warehouse
    spec: TableSpec
    partition: Mapping[str, str]
    name: str
    engine: EngineSpec
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class BatchDone:
    """A finished batch: its file, and whether an earlier run had finished it."""

    file: DataFile
    found: bool


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


def run_stage(
    warehouse: Warehouse,
    spec: TableSpec,
    engine: EngineSpec,
    crawl_partition: str,
    units: Sequence[Unit],
    task: Callable[[BatchTask], BatchDone],
    runner: Runner,
    *,
    properties: Mapping[str, str],
) -> StageResult:
    """Replaces one engine's captions of a crawl partition by captions for exactly these units.

    Args:
        units: sorted; batches are cut in this order, so that they are a pure function of the input.
        task: computes one batch; runs on a worker.
    """
    partition = {"crawl_partition": crawl_partition, "engine_id": engine.engine_id}
    rows = sum(len(unit.keys) for unit in units)
    table = warehouse.open(spec)
    expected = partition_files(table, partition)
    known = _known_captions(warehouse, spec, engine.engine_id, [unit.input_hash for unit in units])
    todo = [unit for unit in units if unit.input_hash not in known]
    reused = rows - sum(len(unit.keys) for unit in todo)
    if table is not None and expected and not todo and _holds_exactly(warehouse, spec, partition, units):
        return StageResult(engine.engine_id, rows, 0, reused, 0, 0, table.version(), changed=False)
    record_engine(warehouse, engine, properties=properties)
    size = engine.profile.batch_rows * engine.profile.task_batches
    batches = [tuple(todo[start : start + size]) for start in range(0, len(todo), size)]
    tasks = [
        BatchTask(warehouse, spec, partition, _batch_name(index, batch, expected), engine, batch)
        for index, batch in enumerate(batches)
    ]
    done: list[BatchDone] = []
    for batch in runner.run(task, tasks, label=spec.name):
        done.append(batch)
        _LOG.info("%s %s: %d of %d batches done", spec.name, crawl_partition, len(done), len(tasks))
    files = [batch.file for batch in done]
    if known:
        files.append(_write_reused(warehouse, spec, partition, units, known, expected))
    if not files:
        files.append(write_file(warehouse, spec, partition, "no-rows", table_of(spec, [])))
    commit = replace_partition(warehouse, spec, partition, files, expected=expected, properties=properties)
    found = sum(batch.found for batch in done)
    return StageResult(
        engine.engine_id,
        rows,
        rows - reused,
        reused,
        len(done) - found,
        found,
        commit.version,
        commit.written,
    )


def finish_batch(task: BatchTask, compute: Callable[[BatchTask], list[Caption]]) -> BatchDone:
    """Takes up the batch's file if it is there, else computes and writes it. Runs on a worker."""
    if file := find_file(task.warehouse, task.spec, task.partition, task.name):
        return BatchDone(file, found=True)
    captions = compute(task)
    key = task.spec.keys[0]
    rows: list[dict[str, object]] = [
        {key: name, "input_hash": unit.input_hash, **unit.columns, **caption.row()}
        for unit, caption in zip(task.units, captions, strict=True)
        for name in unit.keys
    ]
    file = write_file(task.warehouse, task.spec, task.partition, task.name, table_of(task.spec, rows))
    return BatchDone(file, found=False)


def _batch_name(index: int, units: Sequence[Unit], expected: frozenset[str]) -> str:
    """Names a batch by its inputs and by what the partition held before.

    The latter so that a batch with a row that failed is not taken for done once it is committed: after a commit the
    names are new, after a crash they are the same.
    """
    digest = hashlib.sha256("\n".join(sorted(expected)).encode())
    for unit in units:
        digest.update(f"\n{unit.input_hash}\0{','.join(unit.keys)}".encode())
    return f"batch-{index:06d}-{digest.hexdigest()[:16]}"


def _known_captions(
    warehouse: Warehouse, spec: TableSpec, engine_id: str, hashes: Sequence[str]
) -> dict[str, dict[str, object]]:
    """Kept captions of this engine by input_hash, from whatever partition."""
    with connect(warehouse, [spec.name]) as connection:
        connection.register("wanted", pa.table({"input_hash": pa.array(hashes, pa.string())}))
        columns = ", ".join(f"any_value({name}) AS {name}" for name in _REUSED)
        cursor = connection.execute(
            f"SELECT input_hash, {columns} FROM {spec.name} SEMI JOIN wanted USING (input_hash) "  # noqa: S608
            f"WHERE engine_id = ? AND outcome = '{KEPT}' GROUP BY input_hash",
            [engine_id],
        )
        return {row[0]: dict(zip(_REUSED, row[1:], strict=True)) for row in cursor.fetchall()}


def _holds_exactly(warehouse: Warehouse, spec: TableSpec, partition: Mapping[str, str], units: Sequence[Unit]) -> bool:
    key = spec.keys[0]
    with connect(warehouse, [spec.name]) as connection:
        cursor = connection.execute(
            f"SELECT {key}, input_hash FROM {spec.name} WHERE crawl_partition = ? AND engine_id = ? AND outcome = '{KEPT}'",  # noqa: S608
            list(partition.values()),
        )
        held = set(cursor.fetchall())
        total = connection.execute(
            f"SELECT count(*) FROM {spec.name} WHERE crawl_partition = ? AND engine_id = ?",  # noqa: S608
            list(partition.values()),
        ).fetchone()
    wanted = {(name, unit.input_hash) for unit in units for name in unit.keys}
    return held == wanted and total == (len(wanted),)


def _write_reused(
    warehouse: Warehouse,
    spec: TableSpec,
    partition: Mapping[str, str],
    units: Sequence[Unit],
    known: Mapping[str, Mapping[str, object]],
    expected: frozenset[str],
) -> DataFile:
    key = spec.keys[0]
    reused = [unit for unit in units if unit.input_hash in known]
    name = _batch_name(0, reused, expected).replace("batch-", "reused-")
    if file := find_file(warehouse, spec, partition, name):
        return file
    rows: list[dict[str, object]] = [
        {
            key: row_key,
            "input_hash": unit.input_hash,
            **unit.columns,
            **known[unit.input_hash],
            "outcome": KEPT,
        }
        for unit in reused
        for row_key in unit.keys
    ]
    return write_file(warehouse, spec, partition, name, table_of(spec, rows))
