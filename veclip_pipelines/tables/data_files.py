"""Parquet files of a table, written whole or not at all, before any Delta commit names them.

A file that no commit names is invisible to readers: so a task may write its file, die, and be found again by name.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.tables.schemas import TableSpec
from veclip_pipelines.tables.warehouse import Warehouse, check_partition_key, not_writable


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


def write_file(
    warehouse: Warehouse, spec: TableSpec, partition: Mapping[str, str], name: str, rows: pa.Table
) -> DataFile:
    """Writes one file under its name only once it is whole.

    Args:
        rows: must have the table's file schema, column for column.

    Raises:
        VeclipError: the rows do not fit the schema, or the warehouse cannot be written.
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
        pq.write_table(rows, scratch, filesystem=filesystem, compression="zstd")
        if scratch != target:
            filesystem.move(scratch, target)
    except OSError as error:
        if scratch != target and filesystem.get_file_info(scratch).type == pafs.FileType.File:
            filesystem.delete_file(scratch)
        raise not_writable(warehouse.root, error) from error
    size = filesystem.get_file_info(target).size
    return DataFile(relative, size, rows.num_rows, dict(partition))


def table_of(spec: TableSpec, rows: list[dict[str, object]]) -> pa.Table:
    """Rows as an Arrow table of the file schema; a key that is no column raises, a missing one is null."""
    known = set(spec.file_schema.names)
    for row in rows:
        if unknown := row.keys() - known:
            raise VeclipError(f"no such column in table {spec.name}: {sorted(unknown)}")
    return pa.Table.from_pylist(rows, schema=spec.file_schema)
