"""Only what nothing needs is prunable: pinned files, the present content and recent files stay."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from builders import index, numbered_entries, write_drop
from lineage_story import EYE, HAND, make_set, put, tell
from training_jobs import RECIPE

from veclip_pipelines.audit.auditing import audit
from veclip_pipelines.audit.file_checks import orphan_tars
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.media.storage import put_bytes
from veclip_pipelines.pruning.files import Prunable, Retention, prunable_files, remove_files
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL, VECAP
from veclip_pipelines.tables.commit import files_of
from veclip_pipelines.tables.provenance import Provenance, record
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

NOTHING_KEPT = Retention(runs_days=0, earlier_days=0, scratch_hours=0)


def note(warehouse: Warehouse, run_id: str) -> None:
    """Notes the present content of raw_crawl as a run's."""
    files = files_of(warehouse.open(RAW_CRAWL), {"crawl_partition": "crawl-2"})
    record(
        warehouse,
        Provenance(
            asset="raw_crawl", partition="crawl-2", run_id=run_id, inputs={"drop": run_id}, data_version=run_id, delta_version=1,
            files=files, rows_in=3, rows_kept=3, rows_rejected=0, seconds=1.0, code_version="1", launched_by="someone",
        ),
    )  # fmt: skip


def places(found: list[Prunable], kind: str) -> list[str]:
    return [one.place for one in found if one.kind == kind]


def old(path: Path, days: float = 2) -> Path:
    then = time.time() - days * 86400
    os.utime(path, (then, then))
    return path


def test_of_a_sound_warehouse_nothing_goes(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> None:
    tell(tmp_path, settings, warehouse)
    assert prunable_files(warehouse, settings, Retention()) == []
    assert prunable_files(warehouse, settings, NOTHING_KEPT) == []


def test_a_replaced_content_goes_when_its_time_has_come(
    tmp_path: Path, settings: Settings, warehouse: Warehouse
) -> None:
    for run, count in (("first", 3), ("second", 4)):
        index(warehouse, write_drop(tmp_path / run, numbered_entries(count, 40)), "crawl-2")
        note(warehouse, run)
    before = read_rows(warehouse, "SELECT * FROM raw_crawl ORDER BY source_key", tables=["raw_crawl"])
    month = Retention(earlier_days=30)
    assert prunable_files(warehouse, settings, month) == []
    # Counted from when it was replaced, and not from when it was written.
    for path in Path(warehouse.path(RAW_CRAWL)).rglob("*.parquet"):
        old(path, 60)
    assert prunable_files(warehouse, settings, month) == []
    later = datetime.now(UTC) + timedelta(days=31)
    found = prunable_files(warehouse, settings, month, later)
    (gone,) = places(found, "earlier")
    remove_files(found)
    assert not Path(gone).exists()
    assert read_rows(warehouse, "SELECT * FROM raw_crawl ORDER BY source_key", tables=["raw_crawl"]) == before
    remove_files(found)  # gone already
    assert prunable_files(warehouse, settings, month, later) == []


def test_what_a_set_pins_stays(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> None:
    tell(tmp_path, settings, warehouse)
    rows = read_rows(warehouse, "SELECT sample_id FROM vecap", tables=["vecap"])
    pinned = json.loads(read_rows(warehouse, "SELECT files FROM set_pins", tables=["set_pins"])[0]["files"])["vecap"]
    # Twice again with other texts: the first is pinned, the second is not.
    for name in ("second", "third"):
        made = [
            {"sample_id": row["sample_id"], "text": f"{name} {row['sample_id']}", "input_hash": "h", "outcome": "kept"}
            for row in rows
        ]
        put(warehouse, VECAP, HAND, made, name)
    found = prunable_files(warehouse, settings, NOTHING_KEPT, datetime.now(UTC) + timedelta(days=1))
    assert [Path(place).name for place in places(found, "earlier")] == ["second.parquet"]
    remove_files(found)
    assert all(Path(warehouse.path(VECAP, path)).exists() for path in pinned["files"])
    assert [one for one in audit(warehouse, None).findings if one.check in ("pins", "files")] == []
    make_set(warehouse, RECIPE)


def orphan(settings: Settings, warehouse: Warehouse) -> Path:
    path = Path(warehouse.path(VECAP, f"crawl_partition=crawl-1/engine_id={HAND}/batch-9.parquet"))
    path.write_bytes(b"of a run that was killed")
    return path


def half_written(settings: Settings, warehouse: Warehouse) -> Path:
    path = Path(warehouse.path(VECAP, f"crawl_partition=crawl-1/engine_id={HAND}/f.parquet.0123.tmp"))
    path.write_bytes(b"half")
    return path


def plan(settings: Settings, warehouse: Warehouse) -> Path:
    path = Path(warehouse.root) / "_plans" / "vecap" / "crawl-1" / f"{EYE}.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"plan")
    return path


def tar(settings: Settings, warehouse: Warehouse) -> Path:
    path = Path(settings.shards) / "crawl-1" / "shard-00000.tar"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"pictures")
    return path


def entry_list(settings: Settings, warehouse: Warehouse) -> Path:
    path = Path(settings.shards) / "crawl-1" / "lists" / "a-000000.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"urls")
    return path


def packing(settings: Settings, warehouse: Warehouse) -> Path:
    path = Path(settings.shards) / "crawl-1" / ".packing-abc"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a tar")
    return path


def half_a_tar(settings: Settings, warehouse: Warehouse) -> Path:
    path = Path(settings.shards) / "crawl-1" / ".shard-00000.tar.0123456789ab.tmp"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a tar")
    return path


def half_a_model(settings: Settings, warehouse: Warehouse) -> Path:
    path = settings.models / ".tagger.0123456789ab.tmp"
    path.mkdir(parents=True)
    return path


def checkpoint_scratch(settings: Settings, warehouse: Warehouse) -> Path:
    path = settings.checkpoints / ".abc.0123456789ab.tmp"
    path.mkdir(parents=True)
    return path


def half_a_checkpoint(settings: Settings, warehouse: Warehouse) -> Path:
    path = settings.checkpoints / ".checkpoint-abc"
    path.mkdir(parents=True)
    return path


FOUND = {
    orphan: "orphan", half_written: "staging", plan: "staging", tar: "tar", entry_list: "staging", packing: "staging",
    half_a_checkpoint: "staging", half_a_tar: "staging", half_a_model: "staging", checkpoint_scratch: "staging",
}  # fmt: skip


@pytest.mark.parametrize("leave", FOUND, ids=lambda leave: leave.__name__)
def test_scratch_goes_after_a_day(
    tmp_path: Path, settings: Settings, warehouse: Warehouse, leave: Callable[[Settings, Warehouse], Path]
) -> None:
    tell(tmp_path, settings, warehouse)
    path = leave(settings, warehouse)
    assert prunable_files(warehouse, settings, Retention()) == []
    old(path)
    found = prunable_files(warehouse, settings, Retention())
    assert places(found, FOUND[leave]) == [str(path)]
    assert len(found) == 1
    remove_files(found)
    assert not path.exists()
    assert prunable_files(warehouse, settings, Retention()) == []


def test_a_training_that_may_be_gone_on_with_stays_longer(settings: Settings, warehouse: Warehouse) -> None:
    state = settings.checkpoints / ".training-abc"
    state.mkdir(parents=True)
    old(state / "state.pt" if (state / "state.pt").write_bytes(b"s") else state, 20)
    assert prunable_files(warehouse, settings, Retention()) == []
    ended = settings.checkpoints / "abc"
    ended.mkdir()
    (ended / "model.safetensors").write_bytes(b"w")
    assert places(prunable_files(warehouse, settings, Retention()), "staging") == [str(state)]


def test_a_tar_on_a_store_is_as_old_as_the_store_says(warehouse: Warehouse) -> None:
    put_bytes("memory://shards-of-today/crawl-1/shard-00000.tar", b"pictures")
    now, day = datetime.now(UTC), timedelta(days=1)
    found = [orphan_tars(warehouse, "memory://shards-of-today", (now + later).timestamp()) for later in (-day, day)]
    assert [len(uris) for uris in found] == [0, 1]
