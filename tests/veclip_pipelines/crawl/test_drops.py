"""What is a drop and what is not, and when it may be registered."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import numbered_entries, write_drop

from veclip_pipelines.crawl.drops import (
    check_new,
    default_partition_key,
    inspect_drop,
    list_drops,
    register_drop,
    registered_drop,
)
from veclip_pipelines.errors import UsageError
from veclip_pipelines.tables.warehouse import Warehouse


def test_a_drop_is_told_by_its_shards(tmp_path: Path) -> None:
    drop = inspect_drop(str(write_drop(tmp_path / "crawl-7", numbered_entries(13))))
    assert (len(drop.sources), drop.entries, drop.format) == (2, 13, "img2dataset-webdataset")
    assert default_partition_key(drop) == "crawl-7"


def test_what_is_no_drop_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        inspect_drop(str(tmp_path / "missing"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"not a crawl drop.*notes\.txt"):
        inspect_drop(str(tmp_path))
    folder = write_drop(tmp_path / "unfinished", numbered_entries(12))
    (folder / "00001_stats.json").unlink()
    with pytest.raises(UsageError, match=r"1 of 2 shards have no _stats\.json"):
        inspect_drop(str(folder))
    empty = write_drop(tmp_path / "empty", numbered_entries(1))
    (empty / "00000_stats.json").write_text('{"count": 0}')
    with pytest.raises(UsageError, match="empty drop"):
        inspect_drop(str(empty))


def test_a_drop_is_registered_once(tmp_path: Path, warehouse: Warehouse) -> None:
    drop = inspect_drop(str(write_drop(tmp_path / "a", numbered_entries(2))))
    other = inspect_drop(str(write_drop(tmp_path / "b", numbered_entries(2))))
    check_new(warehouse, drop, "a")
    register_drop(warehouse, drop, "a", run_id="r1", registered_by="me")
    with pytest.raises(UsageError, match="registered already"):
        check_new(warehouse, drop, "a")
    with pytest.raises(UsageError, match="registered already, as crawl partition 'a'"):
        check_new(warehouse, drop, "another-key")
    with pytest.raises(UsageError, match="--replace"):
        check_new(warehouse, other, "a")
    check_new(warehouse, other, "a", replace=True)
    register_drop(warehouse, other, "a", run_id="r2", registered_by="me")
    assert [known.uri for known in list_drops(warehouse)] == [other.uri]
    assert registered_drop(warehouse, "a").uri == other.uri
    with pytest.raises(UsageError, match="no crawl drop is registered as partition 'zz'"):
        registered_drop(warehouse, "zz")


def test_a_drop_that_grew_may_be_registered_again(tmp_path: Path, warehouse: Warehouse) -> None:
    folder = write_drop(tmp_path / "a", numbered_entries(2))
    before = inspect_drop(str(folder))
    register_drop(warehouse, before, "a", run_id="r1")
    write_drop(tmp_path / "more", numbered_entries(3, first=9))
    for path in (tmp_path / "more").iterdir():
        path.rename(folder / path.name.replace("00000", "00001"))
    after = inspect_drop(str(folder))
    assert after.fingerprint != before.fingerprint
    check_new(warehouse, after, "a")
