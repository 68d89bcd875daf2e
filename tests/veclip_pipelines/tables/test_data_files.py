"""Parquet files: whole or absent, with the declared schema."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from veclip_pipelines.errors import UsageError, VeclipError
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL, VECAP
from veclip_pipelines.stages import tables
from veclip_pipelines.tables import data_files
from veclip_pipelines.tables.data_files import claim_file, table_of, write_file
from veclip_pipelines.tables.warehouse import Warehouse, check_partition_key

PARTITION = {"crawl_partition": "p1", "engine_id": "e1"}


def test_a_column_of_nulls_keeps_its_type(warehouse: Warehouse) -> None:
    file = write_file(
        warehouse, VECAP, PARTITION, "a", table_of(VECAP, [{"sample_id": "s", "input_hash": "h", "outcome": "kept"}])
    )
    assert pq.read_schema(warehouse.path(VECAP, file.path)).field("detail").type == pa.string()


def test_values_that_are_looked_up_are_found_by_bloom_filters(warehouse: Warehouse) -> None:
    """Without reading a row: what is not there is excluded, what is there never."""
    rows = [{"sample_id": f"s{number}", "input_hash": "h", "outcome": "kept"} for number in range(2000)]
    file = write_file(warehouse, VECAP, PARTITION, "a", table_of(VECAP, rows))
    with duckdb.connect() as connection:
        for value, excluded in (("s17", False), ("s1999", False), ("nobody", True)):
            probe = "SELECT bloom_filter_excludes FROM parquet_bloom_probe(?, 'sample_id', ?)"
            found = connection.execute(probe, [warehouse.path(VECAP, file.path), value]).fetchall()
            assert found == [(excluded,)]
    for spec in tables().values():
        assert set(spec.lookups) <= set(spec.file_schema.names)


def test_rows_of_another_schema_are_refused(warehouse: Warehouse) -> None:
    with pytest.raises(VeclipError, match="do not have its schema"):
        write_file(warehouse, VECAP, PARTITION, "a", pa.table({"sample_id": ["s"]}))
    with pytest.raises(VeclipError, match="no such column"):
        table_of(VECAP, [{"sample_idd": "s"}])


def test_a_full_disk_leaves_no_file_behind(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(writer: pq.ParquetWriter, table: pa.Table, rows: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data_files.pq.ParquetWriter, "write", full)
    with pytest.raises(VeclipError, match="No space left"):
        write_file(warehouse, VECAP, PARTITION, "a", table_of(VECAP, []))
    assert [path for path in Path(warehouse.root).rglob("*") if path.is_file()] == []


def test_of_two_that_write_one_name_the_first_stays(warehouse: Warehouse) -> None:
    """Its size may stand in a commit already: a file is never written over."""
    first, ours = claim_file(
        warehouse, VECAP, PARTITION, "a", table_of(VECAP, [{"sample_id": "s", "input_hash": "h", "outcome": "kept"}])
    )
    again, ours_too = claim_file(warehouse, VECAP, PARTITION, "a", table_of(VECAP, []))
    assert (ours, ours_too) == (True, False)
    assert (again.size, again.rows) == (first.size, 1)
    assert len([path for path in Path(warehouse.root).rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize("key", ["", "a/b", "..", ".hidden", "-x", "a b", "ä", "x" * 129, "a\n"])
def test_partition_keys_that_are_no_folder_names_are_refused(key: str) -> None:
    with pytest.raises(UsageError):
        check_partition_key(key)


def test_every_column_has_a_description() -> None:
    for spec in tables().values():
        assert set(spec.descriptions) == set(spec.schema.names)
        assert all(spec.descriptions.values())
        assert set(spec.partition_by) | set(spec.keys) <= set(spec.schema.names)
    assert RAW_CRAWL.file_schema.names == [name for name in RAW_CRAWL.schema.names if name != "crawl_partition"]
