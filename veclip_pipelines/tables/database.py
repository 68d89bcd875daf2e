"""Connections to DuckDB: each sees only what it made itself.

Opening a database took 40 ms, and connecting to an open one 0.1 ms (bench graph-overhead shows what that means in a
run). So a process has one database, which stays empty, and every view and table is temporary and belongs to its
connection.
"""

from __future__ import annotations

import os
from functools import cache

import duckdb


def connection(*, alone: bool = False) -> duckdb.DuckDBPyConnection:
    """An empty connection. Make only temporary views and tables.

    Args:
        alone: to a database of its own, for settings that apply to a whole database, such as memory_limit.
    """
    return duckdb.connect() if alone else _database(os.getpid()).cursor()


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """One per process: threads do not survive a fork. Without the cache of files, which would keep memory between queries."""
    del process
    return duckdb.connect(config={"enable_external_file_cache": "false"})
