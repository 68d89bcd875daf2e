"""Connections share a process's database, but nothing in it."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from veclip_pipelines.tables.database import connection


def test_a_connection_sees_only_its_own() -> None:
    with connection() as one, connection() as other:
        one.register("rows", pa.table({"x": [1]}))
        other.register("rows", pa.table({"x": [2, 3]}))
        for each in (one, other):
            each.execute("CREATE TEMP VIEW seen AS SELECT sum(x) AS s FROM rows")
            each.execute("CREATE TEMP TABLE kept AS SELECT s FROM seen")
        assert one.execute("SELECT s FROM kept").fetchall() == [(1,)]
        assert other.execute("SELECT s FROM kept").fetchall() == [(5,)]
        assert one.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(1,)]
    with connection() as later, pytest.raises(duckdb.CatalogException):
        later.execute("SELECT * FROM kept")


def test_settings_of_one_that_is_alone_are_its_own() -> None:
    asked = "SELECT current_setting('memory_limit')"
    with connection() as shared, connection(alone=True) as alone:
        before = shared.execute(asked).fetchall()
        alone.execute("SET memory_limit = '123MB'")
        assert shared.execute(asked).fetchall() == before
        assert alone.execute(asked).fetchall() != before
