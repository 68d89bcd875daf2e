"""Earlier contents of a partition: restored whole, also after a kill; an error says what no longer exists."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from builders import index, numbered_entries, write_drop

from veclip_pipelines.crawl.drops import inspect_drop, list_drops, register_drop, registered_drop
from veclip_pipelines.errors import UsageError
from veclip_pipelines.planning import partition_history as history
from veclip_pipelines.planning.partition_history import earlier_contents, retire, roll_back
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL, VECAP
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.commit import files_of, partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.provenance import Provenance, is_current, record
from veclip_pipelines.tables.query import content_version, read_rows
from veclip_pipelines.tables.warehouse import Warehouse

KEY = "crawl-1"


def materialise(warehouse: Warehouse, folder: Path, run_id: str) -> None:
    """raw_crawl, and one VeCap a sample, as the graph would make and note them."""
    drop = inspect_drop(str(folder))
    register_drop(warehouse, drop, KEY, run_id=run_id)
    index(warehouse, drop, KEY)
    raw = note(warehouse, RAW_CRAWL, {"crawl_partition": KEY}, run_id, {"drop": drop.fingerprint})
    samples = read_rows(
        warehouse, "SELECT sample_id FROM raw_crawl WHERE crawl_partition = ?", [KEY], tables=["raw_crawl"]
    )
    partition = {"crawl_partition": KEY, "engine_id": "e1"}
    expected = partition_files(warehouse.open(VECAP), partition)
    rows: list[dict[str, object]] = [
        {"sample_id": row["sample_id"], "input_hash": "h", "text": f"text of {run_id}", "outcome": "kept"}
        for row in samples
    ]
    file = write_file(warehouse, VECAP, partition, f"f-{run_id}", table_of(VECAP, rows))
    replace_partition(warehouse, VECAP, partition, [file], expected=expected, properties={})
    note(warehouse, VECAP, partition, run_id, {"engine": "e1", f"raw_crawl/{KEY}": raw})


def note(warehouse: Warehouse, spec: TableSpec, partition: dict[str, str], run_id: str, inputs: dict[str, str]) -> str:
    version, rows = content_version(warehouse, spec, partition)
    files = files_of(warehouse.open(spec), partition)
    record(warehouse, Provenance(spec.name, KEY, run_id, inputs, version, 1, files, rows, rows, 0, 0.1, "1", "me"))
    return version


def content(warehouse: Warehouse) -> tuple[list[dict[str, Any]], ...]:
    return tuple(
        read_rows(warehouse, f"SELECT * FROM {table} ORDER BY ALL", tables=[table]) for table in ("raw_crawl", "vecap")
    )


@pytest.fixture
def twice(tmp_path: Path, warehouse: Warehouse) -> tuple[Warehouse, tuple[list[dict[str, Any]], ...]]:
    """A partition that was replaced by a drop that grew; with its content before."""
    folder = write_drop(tmp_path / KEY, numbered_entries(3))
    materialise(warehouse, folder, "run-1")
    before = content(warehouse)
    shutil.rmtree(folder)
    materialise(warehouse, write_drop(folder, numbered_entries(5)), "run-2")
    assert content(warehouse) != before
    return warehouse, before


def test_what_was_never_made_has_no_history(warehouse: Warehouse) -> None:
    assert earlier_contents(warehouse, KEY) == []


def test_back_to_the_content_before(twice: tuple[Warehouse, tuple[list[dict[str, Any]], ...]]) -> None:
    warehouse, before = twice
    done = roll_back(warehouse, KEY, None, run_id="back", by="me")
    assert content(warehouse) == before
    assert [(part.asset, part.of_run) for part in done] == [("raw_crawl", "run-1"), ("vecap", "run-1")]
    assert registered_drop(warehouse, KEY).state == "pinned"
    assert [row.rows_kept for row in earlier_contents(warehouse, KEY)] == [3, 5, 3]
    # Once more changes nothing: it is what it is pinned to. Forward again goes by name.
    roll_back(warehouse, KEY, None, run_id="again", by="me")
    assert content(warehouse) == before
    roll_back(warehouse, KEY, "run-2", run_id="forward", by="me")
    assert len(content(warehouse)[1]) == 5


@pytest.mark.parametrize("dead_at", [0, 1])
def test_a_kill_half_way_is_finished_by_running_it_again(
    twice: tuple[Warehouse, tuple[list[dict[str, Any]], ...]], monkeypatch: pytest.MonkeyPatch, dead_at: int
) -> None:
    warehouse, before = twice
    calls = []

    def dying(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        if len(calls) > dead_at:
            raise KeyboardInterrupt
        return replace_partition(*arguments, **named)

    monkeypatch.setattr(history, "replace_partition", dying)
    with pytest.raises(KeyboardInterrupt):
        roll_back(warehouse, KEY, None, run_id="killed", by="me")
    monkeypatch.undo()
    roll_back(warehouse, KEY, None, run_id="back", by="me")
    assert content(warehouse) == before


def test_what_is_not_kept_any_more_is_said(twice: tuple[Warehouse, tuple[list[dict[str, Any]], ...]]) -> None:
    warehouse, _ = twice
    after = content(warehouse)
    with pytest.raises(UsageError, match="no content of run 'nothing'"):
        roll_back(warehouse, KEY, "nothing", run_id="back", by="me")
    held = partition_files(warehouse.open(RAW_CRAWL), {"crawl_partition": KEY})
    for path in (Path(warehouse.root) / "raw_crawl").rglob("shard-*.parquet"):
        if not any(str(path).endswith(name) for name in held):
            path.unlink()  # as vacuum does
    with pytest.raises(UsageError, match="were vacuumed"):
        roll_back(warehouse, KEY, None, run_id="back", by="me")
    assert content(warehouse) == after
    assert registered_drop(warehouse, KEY).state == "active"


def test_retire_leaves_no_row_and_can_be_run_again(twice: tuple[Warehouse, tuple[list[dict[str, Any]], ...]]) -> None:
    warehouse, _ = twice
    (inputs,) = read_rows(
        warehouse,
        "SELECT inputs FROM provenance WHERE asset = 'raw_crawl' ORDER BY recorded_at DESC LIMIT 1",
        tables=["provenance"],
    )
    assert is_current(warehouse, "raw_crawl", KEY, json.loads(inputs["inputs"]))
    assert retire(warehouse, KEY, run_id="r", by="me")["raw_crawl"] == 1
    assert content(warehouse) == ([], [])
    assert list_drops(warehouse) == []
    assert not is_current(warehouse, "raw_crawl", KEY, json.loads(inputs["inputs"])), "brought back, it is made again"
    assert retire(warehouse, KEY, run_id="r2", by="me") == dict.fromkeys(
        ("raw_crawl", "concept_captions", "vecap", "duplicate_pairs"), 0
    )
    with pytest.raises(UsageError, match="no crawl drop is registered"):
        retire(warehouse, "other", run_id="r", by="me")
