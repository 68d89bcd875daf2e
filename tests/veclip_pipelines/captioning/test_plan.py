"""A plan: batches of exact size, names that are a function of the rows and the salt, and unchanged rows."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from veclip_pipelines.captioning.plan import Plan, read_units, remove_plan, write_plan
from veclip_pipelines.tables.warehouse import Warehouse

ROWS = (
    "SELECT printf('%05d', i) AS input_hash, ['k' || i] AS keys, 'tar' AS shard_uri, i AS image_offset, 7::BIGINT AS image_length, "
    "'sha' AS image_sha256, 'text ' || i AS alt_text, '' AS concept, NULL::VARCHAR AS unrelated FROM range({n}) t(i) ORDER BY i"
)


def plan(warehouse: Warehouse, rows: int, size: int, salt: str = "s") -> Plan:
    with duckdb.connect() as connection:
        return write_plan(warehouse, connection, ROWS.format(n=rows), place="vecap/p.e", batch_rows=size, salt=salt)


@pytest.mark.parametrize(("rows", "size"), [(0, 4), (1, 4), (4, 4), (5000, 7), (5000, 4096), (9000, 2048)])
def test_every_row_is_in_exactly_one_batch_in_order(warehouse: Warehouse, rows: int, size: int) -> None:
    made = plan(warehouse, rows, size)
    assert [batch.units for batch in made.batches] == [size] * (rows // size) + ([rows % size] if rows % size else [])
    units = [unit for batch in made.batches for unit in read_units(warehouse, made.path, batch.index)]
    assert [unit.input_hash for unit in units] == [f"{number:05d}" for number in range(rows)]
    assert all(unit.picture and unit.picture.offset == number for number, unit in enumerate(units))
    assert Path(made.path).exists() == bool(rows)
    remove_plan(warehouse, made)
    assert not Path(made.path).exists()


def test_names_hang_on_the_rows_and_on_what_the_partition_held(warehouse: Warehouse) -> None:
    names = [batch.name for batch in plan(warehouse, 20, 5).batches]
    assert len(set(names)) == 4
    assert names == [batch.name for batch in plan(warehouse, 20, 5).batches]
    assert names[:3] == [batch.name for batch in plan(warehouse, 15, 5).batches]
    assert not set(names) & {batch.name for batch in plan(warehouse, 20, 5, salt="other").batches}
