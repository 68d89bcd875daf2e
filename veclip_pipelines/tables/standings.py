"""Every data file that lies in a table's folder, whatever names it: the present version, a pin, an earlier content, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import duckdb
import pyarrow.fs as pafs
from deltalake import DeltaTable

from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.commit import partition_files
from veclip_pipelines.tables.database import connection as open_connection
from veclip_pipelines.tables.pins import pinned_files
from veclip_pipelines.tables.query import read_rows, view_of_files
from veclip_pipelines.tables.warehouse import Warehouse


class Standing(StrEnum):
    """What a data file is to the warehouse."""

    CURRENT = "current"
    PINNED = "pinned"
    EARLIER = "earlier"
    ORPHAN = "orphan"


@dataclass(frozen=True)
class FoundFile:
    """A data file, by its path relative to its table, and all that names it."""

    path: str
    standings: frozenset[Standing]


def all_files(warehouse: Warehouse, spec: TableSpec) -> list[str]:
    """Paths, relative to the table, of all Parquet files in its folder, but for the log's own."""
    folder = pafs.FileSelector(warehouse.path(spec), recursive=True, allow_not_found=True)
    root = f"{warehouse.path(spec)}/"
    found = (
        info.path.removeprefix(root)
        for info in warehouse.filesystem.get_file_info(folder)
        if info.type == pafs.FileType.File and info.path.endswith(".parquet")
    )
    return sorted(path for path in found if not path.startswith("_delta_log/"))


@contextmanager
def connect_all(warehouse: Warehouse, specs: Sequence[TableSpec]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to all rows of some tables in all their files, those that are hidden too."""
    with open_connection() as connection:
        for spec in specs:
            view_of_files(connection, warehouse, spec, all_files(warehouse, spec), hide=False)
        yield connection


def standings(warehouse: Warehouse, spec: TableSpec) -> list[FoundFile]:
    """All data files of a table with what names each."""
    table = warehouse.open(spec)
    current = partition_files(table, {})
    pinned = pinned_files(warehouse).get(spec.name, set())
    earlier = _noted(warehouse, spec) | _removed(table)
    named = ((Standing.CURRENT, current), (Standing.PINNED, pinned), (Standing.EARLIER, earlier))
    return [
        FoundFile(
            path, frozenset(standing for standing, paths in named if path in paths) or frozenset({Standing.ORPHAN})
        )
        for path in all_files(warehouse, spec)
    ]


def _removed(table: DeltaTable | None) -> set[str]:
    """Files of earlier versions that the table's log still knows of."""
    if table is None:
        return set()
    return set(table.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False))


def _noted(warehouse: Warehouse, spec: TableSpec) -> set[str]:
    """Files that some materialisation wrote: what a crawl partition can be rolled back to."""
    rows = read_rows(
        warehouse,
        "SELECT DISTINCT files FROM provenance WHERE asset = ? AND files IS NOT NULL",
        [spec.name],
        tables=["provenance"],
    )
    return {path for row in rows for path, _, _ in json.loads(row["files"])}
