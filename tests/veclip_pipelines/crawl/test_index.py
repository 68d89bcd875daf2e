"""Indexing: nothing is lost, every reject has its reason, a rerun repeats nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import DropEntry, index, numbered_entries, picture, write_drop

from veclip_pipelines.compute.fanout import HereRunner
from veclip_pipelines.crawl import index as indexing
from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.crawl.rows import sample_id_of
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.tables.query import content_version, read_rows
from veclip_pipelines.tables.warehouse import Warehouse


def test_sample_id_golden() -> None:
    """Stable for ever: captions, training sets and takedowns are keyed by it."""
    sha256 = "a" * 64
    assert sample_id_of("https://x.example/1.jpg", "000010002", "a cat", sha256) == "65df02b89ed4de5274936fafed8e96f2"
    assert sample_id_of(None, "000010002", "a cat", sha256) == "4d72c9dc22996386238e9a1bb231fff4"
    assert sample_id_of("ab", "k", "c", None) != sample_id_of("a", "k", "bc", None)


def test_rows_in_are_rows_kept_and_rejected(tmp_path: Path, warehouse: Warehouse) -> None:
    same = DropEntry("twice", picture(9), url="https://x.example/same")
    entries = [
        *numbered_entries(4),
        DropEntry("html", b"<!DOCTYPE html><html></html>", extension="jpg"),
        DropEntry("half", picture(5, kind="JPEG", size=(200, 200))[:900], extension="jpg"),
        DropEntry("nothing", b""),
        DropEntry("gone", None, status="failed_to_download", error="404"),
        same,
        same,
        DropEntry("", picture(11)),
        DropEntry("IMG_2041.jpg", picture(12)),
    ]
    drop = inspect_drop(str(write_drop(tmp_path / "drop", entries, per_shard=5)))
    result = index(warehouse, drop, "p")
    rows = read_rows(warehouse, "SELECT * FROM raw_crawl ORDER BY source_key", tables=["raw_crawl"])
    assert (len(rows), result.shards_read, result.changed) == (len(entries), 3, True)
    reasons = {
        row["alt_text_raw"]: row["reason"] for row in rows if row["outcome"] == "rejected" and row["reason"] != "repeat"
    }
    assert reasons == {
        "html": "not_a_picture",
        "half": "truncated_picture",
        "nothing": "empty_file",
        "gone": "failed_to_download",
    }
    assert [row["reason"] for row in rows if row["alt_text_raw"] == "twice"] == [None, "repeat"]
    flags = {row["alt_text_raw"]: row["flags"] for row in rows}
    assert (flags[""], flags["IMG_2041.jpg"], flags["html"]) == (
        ["empty"],
        ["file_name", "too_short"],
        ["too_short"],
    )
    kept = next(row for row in rows if row["alt_text_raw"] == "IMG_2041.jpg")
    assert (kept["media_type"], kept["width"], kept["height"], len(kept["phash"])) == ("image/png", 48, 40, 16)


def test_a_rerun_of_an_unchanged_drop_reads_and_writes_nothing(tmp_path: Path, warehouse: Warehouse) -> None:
    entries = [*numbered_entries(7), *numbered_entries(1)]
    drop = inspect_drop(str(write_drop(tmp_path / "drop", entries, per_shard=4)))
    first = index(warehouse, drop, "p")
    again = index(warehouse, drop, "p")
    assert (again.shards_read, again.shards_found, again.changed) == (0, 2, False)
    assert again.delta_version == first.delta_version


def test_a_crash_between_shards_and_commit_is_taken_up(tmp_path: Path, warehouse: Warehouse) -> None:
    drop = inspect_drop(str(write_drop(tmp_path / "drop", numbered_entries(8), per_shard=4)))

    class Crashing(HereRunner):
        def run(self, function, items, *, label):  # type: ignore[no-untyped-def]
            yield function(items[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index(warehouse, drop, "p", Crashing())
    assert read_rows(warehouse, "SELECT * FROM raw_crawl", tables=["raw_crawl"]) == []
    result = index(warehouse, drop, "p")
    assert (result.shards_found, result.shards_read) == (1, 1)
    assert len(read_rows(warehouse, "SELECT * FROM raw_crawl", tables=["raw_crawl"])) == 8


def test_sample_ids_do_not_depend_on_shards_or_partition(tmp_path: Path, warehouse: Warehouse) -> None:
    entries = [DropEntry(f"t{n}", picture(n), url=f"https://x.example/{n}") for n in range(6)]
    for name, per_shard in (("a", 6), ("b", 2)):
        drop = inspect_drop(str(write_drop(tmp_path / name, entries, per_shard=per_shard)))
        index(warehouse, drop, name)
    rows = read_rows(
        warehouse,
        "SELECT crawl_partition, list(sample_id ORDER BY alt_text) AS ids FROM raw_crawl GROUP BY 1",
        tables=["raw_crawl"],
    )
    assert rows[0]["ids"] == rows[1]["ids"]


def test_a_new_code_version_indexes_again(tmp_path: Path, warehouse: Warehouse, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    drop = inspect_drop(str(write_drop(tmp_path / "drop", numbered_entries(3))))
    index(warehouse, drop, "p")
    before = content_version(warehouse, RAW_CRAWL, {"crawl_partition": "p"})
    monkeypatch.setattr(indexing, "CODE_VERSION", "raw_crawl.next")
    result = index(warehouse, drop, "p")
    assert (result.shards_read, result.changed) == (1, True)
    assert content_version(warehouse, RAW_CRAWL, {"crawl_partition": "p"}) == before
