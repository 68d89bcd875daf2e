"""A short log and few small files; a table of an older version gets the columns and properties of this one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from veclip_pipelines.schemas.crawl_schemas import PROVENANCE, RAW_CRAWL
from veclip_pipelines.tables import log
from veclip_pipelines.tables.commit import append_new, partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.log import COMPACT_AT, KEPT_VERSIONS
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import PROPERTIES, Warehouse, present_properties


def add_partition(warehouse: Warehouse, key: str) -> None:
    partition = {"crawl_partition": key}
    row: dict[str, object] = {"sample_id": key, "source_key": key, "flags": [], "outcome": "kept"}
    file = write_file(warehouse, RAW_CRAWL, partition, "f", table_of(RAW_CRAWL, [row]))
    expected = partition_files(warehouse.open(RAW_CRAWL), partition)
    replace_partition(warehouse, RAW_CRAWL, partition, [file], expected=expected, properties={})


def log_entries(warehouse: Warehouse) -> list[Path]:
    return list((Path(warehouse.root) / "raw_crawl" / "_delta_log").glob("*.json"))


def test_young_entries_stay_whatever_their_number(warehouse: Warehouse) -> None:
    """A writer that opened the table before them and was held up must find the name of its next version taken."""
    held_up = warehouse.ensure(RAW_CRAWL)
    for number in range(KEPT_VERSIONS + 25):
        add_partition(warehouse, f"p{number:04d}")
    assert len(log_entries(warehouse)) == KEPT_VERSIONS + 26
    file = write_file(warehouse, RAW_CRAWL, {"crawl_partition": "late"}, "f", table_of(RAW_CRAWL, []))
    with pytest.raises(CommitFailedError):
        held_up.create_write_transaction(
            [file.add_action()], mode="append", schema=RAW_CRAWL.schema, partition_by=["crawl_partition"],
            commit_properties=CommitProperties(max_commit_retries=0),
        )  # fmt: skip


def test_the_log_is_cut_behind_a_checkpoint_and_no_row_is_lost(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "KEPT_SECONDS", 0.0)
    count = KEPT_VERSIONS + 60
    for number in range(count):
        add_partition(warehouse, f"p{number:04d}")
    assert KEPT_VERSIONS <= len(log_entries(warehouse)) < KEPT_VERSIONS + 40
    rows = read_rows(warehouse, "SELECT DISTINCT sample_id FROM raw_crawl", tables=["raw_crawl"])
    assert len(rows) == count
    assert len(DeltaTable(warehouse.uri(RAW_CRAWL)).file_uris()) == count


def test_single_rows_are_gathered_in_few_files(warehouse: Warehouse) -> None:
    for number in range(COMPACT_AT + 5):
        row: dict[str, object] = dict.fromkeys(
            ("partition", "inputs", "data_version", "code_version", "launched_by"), "x"
        )
        row |= {"run_id": str(number), "asset": "a", "rows_in": 1, "rows_kept": 1, "rows_rejected": 0, "seconds": 0.1}
        row["recorded_at"] = pa.scalar(number, pa.timestamp("us", "UTC")).as_py()
        append_new(warehouse, PROVENANCE, [row], properties={})
    assert len(DeltaTable(warehouse.uri(PROVENANCE)).file_uris()) < 10
    rows = read_rows(warehouse, "SELECT run_id FROM provenance", tables=["provenance"])
    assert {row["run_id"] for row in rows} == {str(number) for number in range(COMPACT_AT + 5)}
    assert len(rows) == COMPACT_AT + 5


def test_a_table_of_an_older_version_is_brought_up_to_date(warehouse: Warehouse) -> None:
    """As issue 4's release made it: without the later columns, and without the properties."""
    older = pa.schema(
        [
            field
            for field in RAW_CRAWL.schema
            if field.name not in ("captions", "extra", "fetched_at", "language_confidence")
        ]
    )
    row = {
        "sample_id": "old",
        "source_key": "k",
        "flags": [],
        "outcome": "kept",
        "crawl_partition": "a",
        "alt_text": "old text",
    }
    table = pa.Table.from_pylist([row], schema=older)
    write_deltalake(warehouse.uri(RAW_CRAWL), table, partition_by=["crawl_partition"])
    assert read_rows(warehouse, "SELECT sample_id FROM raw_crawl", tables=["raw_crawl"]) == [{"sample_id": "old"}]
    add_partition(warehouse, "b")
    opened = warehouse.open(RAW_CRAWL)
    assert opened is not None
    assert present_properties(opened)
    assert set(PROPERTIES) <= set(opened.metadata().configuration)
    rows = read_rows(
        warehouse,
        "SELECT sample_id, alt_text, extra, captions, fetched_at FROM raw_crawl ORDER BY 1",
        tables=["raw_crawl"],
    )
    assert [(row["sample_id"], row["alt_text"], row["extra"]) for row in rows] == [
        ("b", None, None),
        ("old", "old text", None),
    ]
