"""Connections to DuckDB: each sees nothing but what it made itself.

Opening a database took 40 ms, and a connection to one that is open 0.1 ms (bench graph-overhead has what that is in a run): so a
process has one database, which holds nothing, and every view and table is a temporary one of its connection.
"""

from __future__ import annotations

import os
from functools import cache

import duckdb


def connection(*, alone: bool = False) -> duckdb.DuckDBPyConnection:
    """A connection with nothing in it. Make temporary views and tables alone.

    Args:
        alone: to a database of its own, for settings that are the whole database's, such as memory_limit.
    """
    return duckdb.connect() if alone else _database(os.getpid()).cursor()


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """One a process: threads do not survive a fork. Without the cache of files, which would keep memory between queries."""
    del process
    return duckdb.connect(config={"enable_external_file_cache": "false"})
