"""Every format into raw_crawl: rows in = kept + rejects, pictures can be read back, a rerun does nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import crawl, index, numbered_entries, picture, write_drop
from drops import page, warc_of, wat, write_loose_img2dataset, write_plain_tar, write_table
from web import Web, running_web

from veclip_pipelines.compute.fanout import HereRunner
from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.crawl.outcomes import TooFewKeptError
from veclip_pipelines.crawl.retry import retry_rejects
from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.shards import ByteRange, read_ranges
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

LOCAL = {"fetch": {"allow_addresses": ["127.0.0.1/32"], "deadline_seconds": 3, "backoff_seconds": 0.05, "attempts": 2}}


@pytest.fixture
def web() -> Iterator[Web]:
    with running_web() as running:
        yield running


def rows_of(warehouse: Warehouse, key: str = "p") -> list[dict[str, Any]]:
    rows = read_rows(
        warehouse,
        "SELECT * FROM raw_crawl WHERE crawl_partition = ? ORDER BY source_uri, source_key",
        [key],
        tables=["raw_crawl"],
    )
    for row in rows:
        if row["outcome"] == "kept":
            (data,) = read_ranges([ByteRange(row["shard_uri"], row["image_offset"], row["image_length"])])
            assert hashlib.sha256(data).hexdigest() == row["image_sha256"]
    return rows


def write_tars(folder: Path, web: Web) -> Path:
    members = [(f"a/{n}.png", picture(n)) for n in range(3)] + [
        (f"a/{n}.txt", f"text number {n}".encode()) for n in range(3)
    ]
    return write_plain_tar(folder / "0.tar", [*members, ("a/1.png", picture(7)), ("notes.txt", b"no picture")])


def write_pictures(folder: Path, web: Web) -> Path:
    names = ["0.png", "1.png", "../out.png", "/etc/passwd", "link.png", "missing.png", "C:\\x.png"]
    write_table(folder / "t.jsonl", [{"file": name, "text": f"text of {number}"} for number, name in enumerate(names)])
    for number in range(2):
        (folder / f"{number}.png").write_bytes(picture(number))
    (folder.parent / "out.png").write_bytes(picture(9))
    (folder / "link.png").symlink_to(folder.parent / "out.png")
    return folder


def write_urls(folder: Path, web: Web) -> Path:
    paths = [
        "pictures/1.jpg",
        "pictures/2.jpg",
        "missing/1",
        "html-as-jpg/1",
        "half-and-proud/1",
        "noai/1",
        "moved/1",
        "reset/1",
    ]
    rows = [{"url": f"{web.url}/{path}", "text": f"text {number}", "punsafe": 0.5} for number, path in enumerate(paths)]
    return write_table(folder / "t.parquet", [*rows, {"url": rows[0]["url"], "text": "again", "punsafe": None}])


def write_vecap(folder: Path, web: Web) -> Path:
    folder.mkdir()
    (folder / "wit_300m-00-of-10.json").write_text(
        json.dumps({f"{web.url}/pictures/{n}.jpg": f"caption {n}" for n in range(4)})
    )
    return folder


def write_archives(folder: Path, web: Web) -> Path:
    folder.mkdir()
    html = page(f'<img src="{web.url}/pictures/1.jpg" alt="one"><img src="{web.url}/missing/1.jpg" alt="gone">')
    (folder / "a.warc.gz").write_bytes(warc_of([("https://p.example/", html, "response")]))
    link = {"path": "IMG@/src", "url": f"{web.url}/pictures/2.jpg", "alt": "two"}
    (folder / "a.warc.wat.gz").write_bytes(
        warc_of([("https://p.example/", wat([link], "https://p.example/"), "metadata")])
    )
    return folder


FORMATS: dict[str, tuple[Callable[[Path, Web], Path], int, dict[str, int]]] = {
    "img2dataset-webdataset": (lambda folder, web: write_drop(folder, numbered_entries(5), per_shard=2), 5, {}),
    "webdataset": (write_tars, 4, {"missing_picture": 1}),
    "img2dataset-files": (lambda folder, web: write_loose_img2dataset(folder, 3, parquet=False), 3, {"failed_to_download": 1}),
    "img2dataset-parquet": (lambda folder, web: write_loose_img2dataset(folder, 3, parquet=True), 3, {"failed_to_download": 1}),
    "picture-folder": (write_pictures, 2, {"outside_folder": 4, "missing_picture": 1}),
    "url-table": (
        write_urls, 4, {"gone": 1, "not_a_picture": 1, "truncated_picture": 1, "opted_out": 1, "connection_reset": 1},
    ),
    "vecap-json": (write_vecap, 4, {}),
    "common-crawl": (write_archives, 2, {"gone": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_lost(tmp_path: Path, warehouse: Warehouse, web: Web, name: str) -> None:
    write, kept, rejected = FORMATS[name]
    drop = inspect_drop(str(write(tmp_path / "drop", web)))
    assert drop.format == name
    result = index(warehouse, drop, "p", entries_per_shard=2, **LOCAL)
    rows = rows_of(warehouse)
    reasons: dict[str, int] = {}
    for row in rows:
        if row["outcome"] == "rejected":
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    assert (result.entries, len(rows)) == (kept + sum(rejected.values()),) * 2
    assert reasons == rejected
    asked = sum(web.asked.values())
    again = index(warehouse, drop, "p", entries_per_shard=2, **LOCAL)
    assert (again.shards_read, again.changed, again.entries) == (0, False, result.entries)
    assert sum(web.asked.values()) == asked, "nothing is fetched twice"
    assert not list(Path(f"{warehouse.root}-shards").rglob("*.parquet")), "the lists are scratch"


def test_what_a_row_of_a_fetched_picture_holds(tmp_path: Path, warehouse: Warehouse, web: Web) -> None:
    index(warehouse, write_urls(tmp_path / "drop", web), "p", **LOCAL)
    rows = {row["alt_text_raw"]: row for row in rows_of(warehouse)}
    assert json.loads(rows["text 0"]["extra"]) == {"punsafe": 0.5}
    assert rows["text 6"]["final_url"].endswith("/pictures/moved.jpg")
    assert rows["text 0"]["fetched_at"] is not None
    same = rows["text 0"], rows["again"]
    assert same[0]["image_offset"] == same[1]["image_offset"], "one URL is fetched and packed once"
    assert web.asked["/pictures/1.jpg"] == 1
    assert rows["text 0"]["language"] == "en"


def test_imported_captions_stand_in_the_row(tmp_path: Path, warehouse: Warehouse, web: Web) -> None:
    index(warehouse, write_vecap(tmp_path / "drop", web), "p", **LOCAL)
    assert [row["captions"] for row in rows_of(warehouse)] == [
        [{"name": "vecap", "text": f"caption {n}"}] for n in range(4)
    ]


def test_a_partition_with_too_few_successes_fails_with_its_causes_and_can_be_run_again(
    tmp_path: Path, warehouse: Warehouse, web: Web
) -> None:
    rows = [{"url": f"{web.url}/pictures/{n}.jpg", "text": f"text {n}"} for n in range(8)]
    folder = write_table(tmp_path / "drop" / "t.parquet", [*rows, {"url": f"{web.url}/missing/1", "text": "x"}])
    web.broken = True
    with pytest.raises(TooFewKeptError, match=r"only 0 of 9 entries.*server_error 8, gone 1"):
        index(warehouse, folder, "p", **LOCAL, minimum_success_share=0.5)
    assert rows_of(warehouse) == []
    web.broken = False
    index(warehouse, folder, "p", **LOCAL, minimum_success_share=0.5)
    assert sum(row["outcome"] == "kept" for row in rows_of(warehouse)) == 8


def test_a_retry_runs_only_the_rows_of_that_reason(tmp_path: Path, warehouse: Warehouse, web: Web) -> None:
    rows = [{"url": f"{web.url}/pictures/{n}.jpg", "text": f"text {n}", "id": n} for n in range(6)]
    rows += [{"url": f"{web.url}/missing/{n}", "text": f"gone {n}", "id": 10 + n} for n in range(2)]
    folder = write_table(tmp_path / "drop" / "t.parquet", rows)
    web.broken = True
    index(warehouse, folder, "p", **LOCAL, entries_per_shard=3)
    before = {row["source_key"]: row for row in rows_of(warehouse)}
    web.broken = False
    web.asked.clear()
    result = retry_rejects(crawl(warehouse, folder, "p", **LOCAL), ["server_error"], HereRunner(), properties={})
    after = {row["source_key"]: row for row in rows_of(warehouse)}
    assert (result.tried, result.kept, result.changed) == (6, 6, True)
    assert {path for path in web.asked if path != "/robots.txt"} == {f"/pictures/{n}.jpg" for n in range(6)}
    assert set(after) == set(before)
    assert {key: row["reason"] for key, row in after.items()} == {**dict.fromkeys("012345"), "10": "gone", "11": "gone"}
    assert after["10"] == before["10"]
    # What the retry made good stays when the drop is materialised again.
    assert index(warehouse, folder, "p", **LOCAL, entries_per_shard=3).changed is False
    with pytest.raises(UsageError, match="no row that was rejected for server_error"):
        retry_rejects(crawl(warehouse, folder, "p", **LOCAL), ["server_error"], HereRunner(), properties={})
    with pytest.raises(UsageError, match="nothing to try again"):
        retry_rejects(crawl(warehouse, folder, "p", **LOCAL), ["repeat"], HereRunner(), properties={})


def test_a_retry_of_a_tar_reads_the_entry_again(
    tmp_path: Path, warehouse: Warehouse, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a decoder has learnt a format since."""
    from veclip_pipelines.media import pictures

    folder = write_drop(tmp_path / "drop", numbered_entries(4))
    with monkeypatch.context() as older:
        older.setattr(pictures, "DECODERS", ("JPEG",))
        index(warehouse, folder, "p")
    assert {row["reason"] for row in rows_of(warehouse)} == {"not_a_picture"}
    result = retry_rejects(crawl(warehouse, folder, "p"), ["not_a_picture"], HereRunner(), properties={})
    assert (result.tried, result.kept) == (4, 4)
    assert {row["outcome"] for row in rows_of(warehouse)} == {"kept"}


@pytest.mark.parametrize("dead_at", [1, 2])
def test_a_crash_while_fetching_is_taken_up(tmp_path: Path, warehouse: Warehouse, web: Web, dead_at: int) -> None:
    rows = [{"url": f"{web.url}/pictures/{n}.jpg", "text": f"text {n}"} for n in range(6)]
    folder = write_table(tmp_path / "drop" / "t.csv", rows)

    class Crashing(HereRunner):
        def run(self, function, items, *, label):  # type: ignore[no-untyped-def]
            for number, item in enumerate(items):
                if label == "raw_crawl" and number == dead_at:
                    raise KeyboardInterrupt
                yield function(item)

    with pytest.raises(KeyboardInterrupt):
        index(warehouse, folder, "p", Crashing(), **LOCAL, entries_per_shard=2)
    assert rows_of(warehouse) == []
    result = index(warehouse, folder, "p", **LOCAL, entries_per_shard=2)
    assert (result.shards_found, result.shards_read) == (dead_at, 3 - dead_at)
    assert len(rows_of(warehouse)) == 6
    assert max(count for path, count in web.asked.items() if path.startswith("/pictures")) == 1


@pytest.mark.parametrize("name", ["img2dataset-webdataset", "img2dataset-files", "picture-folder", "vecap-json"])
def test_a_drop_on_a_store_that_fsspec_knows(tmp_path: Path, warehouse: Warehouse, web: Web, name: str) -> None:
    import fsspec

    write, kept, rejected = FORMATS[name]
    folder = write(tmp_path / "drop", web)
    (folder / "link.png").unlink(missing_ok=True)  # a store has no links
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), f"/{name}", recursive=True)
    try:
        drop = inspect_drop(f"memory://{name}")
        result = index(warehouse, drop, "p", **LOCAL)
        rows = rows_of(warehouse)
    finally:
        memory.rm(f"/{name}", recursive=True)
    assert len(rows) == result.entries == kept + sum(rejected.values())
    assert sum(row["outcome"] == "kept" for row in rows) == kept
