"""DuckDB over the warehouse, for checks and metadata."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from duckdb import DuckDBPyConnection

from resources.delta_lake import DeltaLakeResource
from veclip_pipelines.tables.query import connect


class DuckDBResource(dg.ConfigurableResource["DuckDBResource"]):
    """An in-memory DuckDB with one view per Delta table, and ``rejects`` over all of them."""

    delta_lake: dg.ResourceDependency[DeltaLakeResource]

    @contextmanager
    def connection(self) -> Iterator[DuckDBPyConnection]:
        with connect(self.delta_lake.warehouse()) as connection:
            yield connection
