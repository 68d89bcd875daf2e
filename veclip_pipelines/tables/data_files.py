"""Parquet files of a table, written whole or not at all, before any Delta commit names them.

A file that no commit names is invisible to readers: so a task may write its file, die, and be found again by name.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.warehouse import Warehouse, check_partition_key, not_writable

#: Rows of a group, the least that a look-up reads.
_ROW_GROUP = 131_072


@dataclass(frozen=True)
class DataFile:
    """A finished Parquet file of a table.

    Attributes:
        path: relative to the table's folder, partition folders included.
        size: bytes.
        rows: number of rows in it.
        partition: value of each partition column.
    """

    path: str
    size: int
    rows: int
    partition: Mapping[str, str]

    def add_action(self) -> AddAction:
        return AddAction(
            path=self.path,
            size=self.size,
            partition_values=dict(self.partition),
            modification_time=int(time.time() * 1000),
            data_change=True,
            stats=json.dumps({"numRecords": self.rows}),
        )


def file_path(spec: TableSpec, partition: Mapping[str, str], name: str) -> str:
    """Path of a data file relative to its table: Hive-style partition folders, then the name."""
    folders = [f"{column}={check_partition_key(partition[column])}" for column in spec.partition_by]
    return "/".join([*folders, f"{name}.parquet"])


def find_file(warehouse: Warehouse, spec: TableSpec, partition: Mapping[str, str], name: str) -> DataFile | None:
    """The file of that name, if an earlier task finished it."""
    relative = file_path(spec, partition, name)
    info = warehouse.filesystem.get_file_info(warehouse.path(spec, relative))
    if info.type != pafs.FileType.File:
        return None
    rows = pq.read_metadata(warehouse.path(spec, relative), filesystem=warehouse.filesystem).num_rows
    return DataFile(relative, info.size, rows, dict(partition))


def read_file(warehouse: Warehouse, spec: TableSpec, file: DataFile, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a data file, without its partition columns; some columns or all."""
    names = None if columns is None else list(columns)
    path = warehouse.path(spec, file.path)
    return pq.read_table(path, filesystem=warehouse.filesystem, columns=names, partitioning=None)


def write_file(
    warehouse: Warehouse,
    spec: TableSpec,
    partition: Mapping[str, str],
    name: str,
    rows: pa.Table | pa.RecordBatchReader,
) -> DataFile:
    """Writes one file under its name only once it is whole; one that a rival has put there meanwhile stays.

    Args:
        rows: must have the table's file schema, column for column; a reader is written as it comes.

    Raises:
        VeclipError: the rows do not fit the schema, or the warehouse cannot be written.
    """
    return claim_file(warehouse, spec, partition, name, rows)[0]


def claim_file(
    warehouse: Warehouse,
    spec: TableSpec,
    partition: Mapping[str, str],
    name: str,
    rows: pa.Table | pa.RecordBatchReader,
) -> tuple[DataFile, bool]:
    """As :func:`write_file`, and says whether the file is this call's: of two that write one name the first stays.

    A file that a commit may name already is never written over: its size stands in the commit.
    """
    if not rows.schema.equals(spec.file_schema):
        raise VeclipError(
            f"rows for table {spec.name} do not have its schema: {rows.schema} instead of {spec.file_schema}"
        )
    relative = file_path(spec, partition, name)
    target = warehouse.path(spec, relative)
    filesystem = warehouse.filesystem
    # An object store shows an object only when its upload is complete; a folder needs the rename.
    scratch = f"{target}.{uuid.uuid4().hex}.tmp" if warehouse.is_local else target
    try:
        filesystem.create_dir(target.rpartition("/")[0], recursive=True)
        with pq.ParquetWriter(
            scratch, rows.schema, filesystem=filesystem, compression="zstd", use_dictionary=_with_dictionary(spec),
            bloom_filter_options=_filters(spec),
        ) as writer:  # fmt: skip
            count = 0
            for part in [rows] if isinstance(rows, pa.Table) else rows:
                writer.write(part, _ROW_GROUP)
                count += part.num_rows
        ours = scratch == target or _put_in_place(scratch, target)
    except OSError as error:
        if scratch != target and filesystem.get_file_info(scratch).type == pafs.FileType.File:
            filesystem.delete_file(scratch)
        raise not_writable(warehouse.root, error) from error
    if not ours:
        theirs = find_file(warehouse, spec, partition, name)
        assert theirs is not None
        return theirs, False
    size = filesystem.get_file_info(target).size
    return DataFile(relative, size, count, dict(partition)), True


def _filters(spec: TableSpec) -> dict[str, dict[str, float]] | None:
    """A filter for each column that is looked up: with it a query reads one group of rows of the hundreds that there are."""
    return {column: {"ndv": _ROW_GROUP, "fpp": 0.01} for column in spec.lookups} or None


@cache
def _leaves(schema: pa.Schema) -> tuple[str, ...]:
    """Paths of a schema's columns as Parquet has them, those of lists and structs in full."""
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    columns = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    return tuple(columns.column(number).path for number in range(len(columns)))


def _with_dictionary(spec: TableSpec) -> list[str]:
    """All columns but those that are looked up: their values are all others, and a dictionary of them is read for nothing."""
    return [path for path in _leaves(spec.file_schema) if path not in spec.lookups]


def _put_in_place(scratch: str, target: str) -> bool:
    """Gives a finished file its name, unless it is taken; says whether it was free."""
    try:
        os.link(scratch, target)
    except FileExistsError:
        Path(scratch).unlink()
        return False
    except OSError:  # a file system without hard links
        Path(scratch).replace(target)
        return True
    Path(scratch).unlink()
    return True


def table_of(spec: TableSpec, rows: list[dict[str, object]]) -> pa.Table:
    """Rows as an Arrow table of the file schema; a key that is no column raises, a missing one is null."""
    known = set(spec.file_schema.names)
    for row in rows:
        if unknown := row.keys() - known:
            raise VeclipError(f"no such column in table {spec.name}: {sorted(unknown)}")
    return pa.Table.from_pylist(rows, schema=spec.file_schema)
