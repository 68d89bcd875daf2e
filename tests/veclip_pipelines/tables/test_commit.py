"""Commits: all or nothing, one winner, no row twice."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError

from veclip_pipelines.errors import CommitConflictError, VeclipError
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, ENGINES
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.tables.commit import append_new, partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile, find_file, table_of, write_file
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

PARTITION = {"crawl_partition": "p1", "engine_id": "e1"}


def captions_file(
    warehouse: Warehouse, name: str, pictures: list[str], partition: dict[str, str] | None = None
) -> DataFile:
    rows = [{"image_sha256": key, "input_hash": key, "text": f"text {key}", "outcome": KEPT} for key in pictures]
    return write_file(warehouse, CONCEPT_CAPTIONS, partition or PARTITION, name, table_of(CONCEPT_CAPTIONS, rows))


def held(warehouse: Warehouse) -> list[str]:
    rows = read_rows(warehouse, "SELECT image_sha256 FROM concept_captions ORDER BY 1", tables=["concept_captions"])
    return [row["image_sha256"] for row in rows]


def test_replace_swaps_one_partition_and_leaves_the_others(warehouse: Warehouse) -> None:
    other = {"crawl_partition": "p1", "engine_id": "e2"}
    first = captions_file(warehouse, "a", ["x", "y"])
    replace_partition(warehouse, CONCEPT_CAPTIONS, PARTITION, [first], expected=frozenset(), properties={})
    beside = captions_file(warehouse, "b", ["z"], other)
    replace_partition(warehouse, CONCEPT_CAPTIONS, other, [beside], expected=frozenset(), properties={})
    second = captions_file(warehouse, "c", ["w"])
    commit = replace_partition(
        warehouse, CONCEPT_CAPTIONS, PARTITION, [second], expected=frozenset([first.path]), properties={"run_id": "r9"}
    )
    assert held(warehouse) == ["w", "z"]
    table = warehouse.open(CONCEPT_CAPTIONS)
    assert table is not None
    assert table.version() == commit.version
    assert table.history(1)[0]["run_id"] == "r9"


def test_a_file_that_no_commit_names_is_invisible_and_found_by_name(warehouse: Warehouse) -> None:
    first = captions_file(warehouse, "a", ["x"])
    replace_partition(warehouse, CONCEPT_CAPTIONS, PARTITION, [first], expected=frozenset(), properties={})
    captions_file(warehouse, "crashed", ["y"])
    assert held(warehouse) == ["x"]
    found = find_file(warehouse, CONCEPT_CAPTIONS, PARTITION, "crashed")
    assert found is not None
    assert found.rows == 1
    assert find_file(warehouse, CONCEPT_CAPTIONS, PARTITION, "never") is None


def test_the_same_files_again_are_no_new_commit(warehouse: Warehouse) -> None:
    file = captions_file(warehouse, "a", ["x"])
    first = replace_partition(warehouse, CONCEPT_CAPTIONS, PARTITION, [file], expected=frozenset(), properties={})
    again = replace_partition(warehouse, CONCEPT_CAPTIONS, PARTITION, [file], expected=frozenset(), properties={})
    assert (first.written, again.written) == (True, False)
    assert first.version == again.version


def test_a_partition_that_another_run_replaced_is_left_as_it_is(warehouse: Warehouse) -> None:
    theirs, mine = captions_file(warehouse, "theirs", ["x"]), captions_file(warehouse, "mine", ["y"])
    replace_partition(warehouse, CONCEPT_CAPTIONS, PARTITION, [theirs], expected=frozenset(), properties={})
    with pytest.raises(CommitConflictError, match="another run replaced it"):
        replace_partition(warehouse, CONCEPT_CAPTIONS, PARTITION, [mine], expected=frozenset(), properties={})
    assert held(warehouse) == ["x"]


@pytest.mark.parametrize("same_files", [True, False])
def test_rivals_that_both_create_a_partition_never_double_its_rows(warehouse: Warehouse, same_files: bool) -> None:
    warehouse.ensure(CONCEPT_CAPTIONS)
    files = [captions_file(warehouse, "batch" if same_files else f"batch-{n}", ["x", "y"]) for n in range(4)]
    outcomes: list[str] = []
    start = threading.Barrier(len(files))

    def rival(file: DataFile) -> None:
        start.wait()
        try:
            commit = replace_partition(
                warehouse, CONCEPT_CAPTIONS, PARTITION, [file], expected=frozenset(), properties={}
            )
            outcomes.append("written" if commit.written else "was there")
        except CommitConflictError:
            outcomes.append("lost")

    threads = [threading.Thread(target=rival, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held(warehouse) == ["x", "y"]
    assert sorted(outcomes) == sorted(["written"] + ["was there" if same_files else "lost"] * 3)


def test_writers_of_different_partitions_all_get_in(warehouse: Warehouse) -> None:
    partitions = [{"crawl_partition": f"p{n}", "engine_id": "e1"} for n in range(6)]
    files = [captions_file(warehouse, "a", [f"x{n}"], partition) for n, partition in enumerate(partitions)]

    def write(number: int) -> None:
        replace_partition(
            warehouse, CONCEPT_CAPTIONS, partitions[number], [files[number]], expected=frozenset(), properties={}
        )

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held(warehouse) == [f"x{n}" for n in range(6)]


def test_deltalake_still_refuses_a_second_creator_when_retries_are_off(warehouse: Warehouse) -> None:
    """The contract that replace_partition rests on (delta-rs#4126): look here first when deltalake is upgraded."""
    warehouse.ensure(CONCEPT_CAPTIONS)
    tables = [DeltaTable(warehouse.uri(CONCEPT_CAPTIONS)) for _ in range(2)]
    files = [captions_file(warehouse, f"f{n}", ["x"]) for n in range(2)]

    def create(number: int) -> None:
        tables[number].create_write_transaction(
            [files[number].add_action()],
            mode="overwrite",
            schema=CONCEPT_CAPTIONS.schema,
            partition_by=list(CONCEPT_CAPTIONS.partition_by),
            partition_filters=[(column, "=", value) for column, value in PARTITION.items()],
            commit_properties=CommitProperties(max_commit_retries=0),
        )

    create(0)
    with pytest.raises(CommitFailedError):
        create(1)


def test_append_new_adds_each_key_once(warehouse: Warehouse) -> None:
    row = {name: "x" for name in ENGINES.schema.names if name != "first_used_at"}
    from datetime import UTC, datetime

    rows = [{**row, "engine_id": key, "first_used_at": datetime(2026, 1, 1, tzinfo=UTC)} for key in ("a", "b")]
    assert append_new(warehouse, ENGINES, rows[:1], properties={}).written
    assert append_new(warehouse, ENGINES, rows, properties={}).written
    assert not append_new(warehouse, ENGINES, rows, properties={}).written
    assert len(read_rows(warehouse, "SELECT * FROM engines", tables=["engines"])) == 2


def test_rivals_appending_the_same_key_add_it_once(warehouse: Warehouse) -> None:
    from datetime import UTC, datetime

    row = dict.fromkeys(ENGINES.schema.names, "x")
    row["first_used_at"] = datetime(2026, 1, 1, tzinfo=UTC)  # type: ignore[assignment]
    threads = [
        threading.Thread(target=append_new, args=(warehouse, ENGINES, [row]), kwargs={"properties": {}})
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_rows(warehouse, "SELECT * FROM engines", tables=["engines"])) == 1


def test_a_warehouse_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VeclipError, match="cannot write to the warehouse"):
        Warehouse.at(str(tmp_path / "file")).ensure(CONCEPT_CAPTIONS)


def test_partition_files_of_a_missing_table_are_none(warehouse: Warehouse) -> None:
    assert partition_files(warehouse.open(CONCEPT_CAPTIONS), PARTITION) == frozenset()
