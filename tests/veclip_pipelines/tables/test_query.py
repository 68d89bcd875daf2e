"""Queries and the content version."""

from __future__ import annotations

from veclip_pipelines.schemas.crawl_schemas import TABLES, VECAP
from veclip_pipelines.tables.commit import replace_partition
from veclip_pipelines.tables.contents import Contents
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.query import connect, content_version, content_versions, read_rows
from veclip_pipelines.tables.warehouse import Warehouse


def write(warehouse: Warehouse, partition: str, groups: list[list[dict[str, object]]]) -> str:
    key = {"crawl_partition": partition, "engine_id": "e"}
    files = [write_file(warehouse, VECAP, key, f"f{n}", table_of(VECAP, rows)) for n, rows in enumerate(groups)]
    replace_partition(warehouse, VECAP, key, files, expected=frozenset(), properties={})
    version, rows = content_version(warehouse, VECAP, key)
    assert rows == sum(map(len, groups))
    return version


def row(key: str, text: str = "t", outcome: str = "kept") -> dict[str, object]:
    return {
        "sample_id": key,
        "input_hash": key,
        "text": text,
        "outcome": outcome,
        "reason": None if outcome == "kept" else "why",
    }


def test_content_version_does_not_depend_on_order_or_files(warehouse: Warehouse) -> None:
    other = Warehouse.at(warehouse.root + "-2")
    one = write(warehouse, "p", [[row("a"), row("b")], [row("c")]])
    assert one == write(other, "p", [[row("c"), row("a"), row("b")]])


def test_content_version_changes_with_any_cell(warehouse: Warehouse) -> None:
    versions = {
        write(Warehouse.at(f"{warehouse.root}-{n}"), "p", [rows])
        for n, rows in enumerate(
            [[row("a")], [row("a", "u")], [row("a", outcome="rejected")], [row("a"), row("b")], []]
        )
    }
    assert len(versions) == 5


def test_many_at_once_are_as_one_by_one(warehouse: Warehouse) -> None:
    versions = {key: write(warehouse, key, [[row(key), row("b")]]) for key in ("p", "q", "r")}
    asked = [*versions, "not there"]
    with connect(warehouse, ["vecap"]) as connection:
        every = content_versions(connection, VECAP)
        some = content_versions(connection, VECAP, ["q", "not there"])
        none = content_versions(connection, VECAP, [])
    assert every == {(key, "e"): (version, 2) for key, version in versions.items()}
    assert some == {("q", "e"): (versions["q"], 2)}
    assert none == {}
    contents = Contents.of_partitions(warehouse, asked)
    for key in asked:
        partition = {"crawl_partition": key, "engine_id": "e"}
        assert contents.of(VECAP, partition) == content_version(warehouse, VECAP, partition)


def test_every_table_can_be_queried_before_it_is_written(warehouse: Warehouse) -> None:
    with connect(warehouse) as connection:
        for name, spec in TABLES.items():
            cursor = connection.execute(f"SELECT * FROM {name}")
            assert [column[0] for column in cursor.description] == spec.schema.names
        assert connection.execute("SELECT count(*) FROM rejects").fetchone() == (0,)


def test_rejects_are_a_view_over_the_stages(warehouse: Warehouse) -> None:
    write(warehouse, "p", [[row("a"), row("b", outcome="rejected")]])
    assert read_rows(warehouse, "SELECT stage, partition_key, row_key, reason FROM rejects") == [
        {"stage": "vecap", "partition_key": "p", "row_key": "b", "reason": "why"}
    ]
