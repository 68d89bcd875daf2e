"""What a captioning step has to do, written down as a Parquet file with a row group a batch.

The file is made by DuckDB in a stream and read by the workers, a row group each: neither the driver nor the scheduler ever
holds the rows. A batch is named after its contents, so that the batches which a killed run finished are taken over by
the next run; the batches are a pure function of the input.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from veclip_pipelines.media.shards import ByteRange
from veclip_pipelines.tables.warehouse import Warehouse, not_writable

FOLDER = "_plans"
_DAY_SECONDS = 86_400

#: One row of a plan: one piece of work, and the rows of the table that its result is for.
SCHEMA = pa.schema(
    [
        pa.field("input_hash", pa.string(), nullable=False),
        pa.field("keys", pa.list_(pa.string()), nullable=False),
        pa.field("shard_uri", pa.string()),
        pa.field("image_offset", pa.int64()),
        pa.field("image_length", pa.int64()),
        pa.field("image_sha256", pa.string()),
        pa.field("alt_text", pa.string(), nullable=False),
        pa.field("concept", pa.string(), nullable=False),
        pa.field("unrelated", pa.string()),
    ]
)


@dataclass(frozen=True)
class Unit:
    """One piece of work and the rows that its result is for.

    Attributes:
        input_hash: hash of all that the result depends on, the engine apart.
        keys: the rows' keys (pictures or samples); equal inputs are computed once and the result is written for each
            key.
        picture: where the picture is, for an engine that sees.
        image_sha256: what the picture's bytes must hash to.
        alt_text: the clean AltText of the samples; for captions that came with the drop, that caption.
        concept: the concept caption to be fused.
        unrelated: why AltText and picture have nothing to do with each other, where that is known beforehand.
    """

    input_hash: str
    keys: tuple[str, ...]
    picture: ByteRange | None = None
    image_sha256: str = ""
    alt_text: str = ""
    concept: str = ""
    unrelated: str | None = None


@dataclass(frozen=True)
class PlannedBatch:
    """A batch: its row group in the plan, its name and its number of units and of rows."""

    index: int
    name: str
    units: int
    rows: int


@dataclass(frozen=True)
class Plan:
    """A written plan; without batches there is no file."""

    path: str
    batches: tuple[PlannedBatch, ...]


def write_plan(
    warehouse: Warehouse,
    connection: DuckDBPyConnection,
    sql: str,
    *,
    place: str,
    batch_rows: int,
    salt: str,
) -> Plan:
    """Writes the rows of a query, which must have the columns of SCHEMA in its order, as batches of ``batch_rows``.

    Args:
        place: names table, partition and engine, for people; older plans there, of runs that were killed, are removed.
        salt: goes into each batch's name, see :func:`batch_name`.
    """
    folder = warehouse.folder(f"{FOLDER}/{place}")
    _remove_old(warehouse, folder)
    path = f"{folder}/{uuid.uuid4().hex}.parquet"
    reader = connection.cursor().sql(sql).to_arrow_reader(max(2048, batch_rows))
    batches: list[PlannedBatch] = []
    writer: pq.ParquetWriter | None = None
    plan = Plan(path, ())
    try:
        for part in _cut(reader, batch_rows):
            if writer is None:
                warehouse.filesystem.create_dir(folder, recursive=True)
                writer = pq.ParquetWriter(path, SCHEMA, filesystem=warehouse.filesystem, compression="zstd")
            writer.write_table(part, row_group_size=batch_rows)
            batches.append(_planned(len(batches), part, salt))
        if writer is not None:
            writer.close()
    except BaseException as error:
        remove_plan(warehouse, plan)
        if isinstance(error, OSError):
            raise not_writable(warehouse.root, error) from error
        raise
    return Plan(path, tuple(batches))


def read_units(warehouse: Warehouse, path: str, index: int) -> list[Unit]:
    """The units of one batch."""
    with pq.ParquetFile(path, filesystem=warehouse.filesystem) as file:
        rows = file.read_row_group(index).to_pylist()
    return [
        Unit(
            row["input_hash"],
            tuple(row["keys"]),
            None if row["shard_uri"] is None else ByteRange(row["shard_uri"], row["image_offset"], row["image_length"]),
            row["image_sha256"] or "",
            row["alt_text"],
            row["concept"],
            row["unrelated"],
        )
        for row in rows
    ]


def remove_plan(warehouse: Warehouse, plan: Plan) -> None:
    """Removes a plan, as it holds strangers' texts: once its work is done or has failed."""
    if warehouse.filesystem.get_file_info(plan.path).type == pafs.FileType.File:
        warehouse.filesystem.delete_file(plan.path)


def digest_of(salt: str, hashes: Sequence[str], keys: Sequence[Sequence[str]]) -> str:
    """Hash, 16 hex, over what a batch is made from."""
    digest = hashlib.sha256(salt.encode())
    for input_hash, names in zip(hashes, keys, strict=True):
        digest.update(f"\n{input_hash}\0{','.join(names)}".encode())
    return digest.hexdigest()[:16]


def _planned(index: int, part: pa.Table, salt: str) -> PlannedBatch:
    hashes, keys = part["input_hash"].to_pylist(), part["keys"].to_pylist()
    name = f"batch-{index:06d}-{digest_of(salt, hashes, keys)}"
    return PlannedBatch(index, name, len(hashes), sum(len(names) for names in keys))


def _cut(reader: pa.RecordBatchReader, rows: int) -> Iterator[pa.Table]:
    """Tables of exactly this many rows, but for the last; DuckDB's own batches end anywhere."""
    waiting: pa.Table | None = None
    for batch in reader:
        fresh = pa.Table.from_batches([batch]).cast(SCHEMA)
        waiting = fresh if waiting is None else pa.concat_tables([waiting, fresh])
        whole = waiting.num_rows - waiting.num_rows % rows
        for start in range(0, whole, rows):
            yield waiting.slice(start, rows).combine_chunks()
        waiting = waiting.slice(whole)
    if waiting is not None and waiting.num_rows:
        yield waiting.combine_chunks()


def _remove_old(warehouse: Warehouse, folder: str) -> None:
    selector = pafs.FileSelector(folder, allow_not_found=True)
    for info in warehouse.filesystem.get_file_info(selector):
        if info.mtime is not None and time.time() - info.mtime.timestamp() > _DAY_SECONDS:
            warehouse.filesystem.delete_file(info.path)
