"""What the checks of an audit share: one connection, what was counted once, and what a finding is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import duckdb
import pyarrow.fs as pafs

from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.stages import CRAWL_PARTITION, stages_of, tables
from veclip_pipelines.tables.commit import files_of
from veclip_pipelines.tables.contents import Contents
from veclip_pipelines.tables.database import connection as open_connection
from veclip_pipelines.tables.query import Asker, content_versions, view_of_files
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
        looked_at: number of things checked so far.
    """

    warehouse: Warehouse
    tracking: Tracking | None
    looked_at: int = 0

    def look(self, count: int = 1) -> None:
        self.looked_at += count

    @cached_property
    def ask(self) -> Asker:
        """Asks about all tables, as they were when the audit began."""
        return Asker(self._connection)

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        """Views over the data files that are there: one check reports those that are missing, and the others carry on without them."""
        connection = open_connection()
        for spec in tables().values():
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
            f"SELECT '{stage.name}' AS t, crawl_partition AS p, {'engine_id' if stage.has_engines else 'NULL'} AS e, "  # noqa: S608
            f"count(*) FILTER (outcome = '{KEPT}') AS kept, count(*) FILTER (outcome != '{KEPT}') AS rejected "
            f"FROM {stage.name} GROUP BY ALL"
            for stage in stages_of(CRAWL_PARTITION)
        ]
        return {
            (row["t"], row["p"], row["e"] or ""): (row["kept"], row["rejected"])
            for row in self.ask(" UNION ALL ".join(parts))
        }
