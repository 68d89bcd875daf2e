"""What the checks of an audit share: one connection, what was counted once, and what a finding is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import pyarrow.fs as pafs

from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.schemas.crawl_schemas import TABLES
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.commit import files_of
from veclip_pipelines.tables.contents import Contents
from veclip_pipelines.tables.database import connection as open_connection
from veclip_pipelines.tables.query import content_versions, rows_of, view_of_files
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        check: which check says so. where: table and partition, or a file.
        what: in words.
    """

    check: str
    where: str
    what: str


@dataclass
class Audited:
    """A warehouse under audit.

    Attributes:
        looked_at: things that were checked until now.
    """

    warehouse: Warehouse
    tracking: Tracking | None
    looked_at: int = 0

    def look(self, count: int = 1) -> None:
        self.looked_at += count

    def ask(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        """Rows of a query over all tables, as they were when the audit began."""
        return rows_of(self._connection, sql, parameters)

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        """Views over the data files that are there: those that are not, one check names, and the others go on."""
        connection = open_connection()
        for spec in TABLES.values():
            named = files_of(self.warehouse.open(spec), {})
            view_of_files(connection, self.warehouse, spec, [file.path for file in named if self.has(spec, file.path)])
        return connection

    def has(self, spec: TableSpec, path: str) -> bool:
        """Whether a table's data file is there. path: relative to the table."""
        info = self.warehouse.filesystem.get_file_info(self.warehouse.path(spec, path))
        return bool(info.type == pafs.FileType.File)

    @cached_property
    def contents(self) -> Contents:
        """What the partitions of all tables hold, in the data files that are there."""
        return Contents(lambda spec: content_versions(self._connection, spec))

    @cached_property
    def counts(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Rows kept and rejected by (table, crawl partition, engine)."""
        parts = [
            f"SELECT '{table}' AS t, crawl_partition AS p, {engine} AS e, count(*) FILTER (outcome = '{KEPT}') AS kept, "  # noqa: S608
            f"count(*) FILTER (outcome != '{KEPT}') AS rejected FROM {table} GROUP BY ALL"
            for table, engine in (("raw_crawl", "''"), ("concept_captions", "engine_id"), ("vecap", "engine_id"))
        ]
        return {
            (row["t"], row["p"], row["e"]): (row["kept"], row["rejected"])
            for row in self.ask(" UNION ALL ".join(parts))
        }
