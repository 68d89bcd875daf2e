"""Reading img2dataset's layout, intact and damaged."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from builders import DropEntry, add_member, numbered_entries, picture, write_drop

from veclip_pipelines.crawl.formats import webdataset
from veclip_pipelines.crawl.formats.base import Entry


def read_entries(shard: str) -> list[Entry]:
    folder, _, name = shard.rpartition("/")
    return list(webdataset.read_entries(folder, name))


def test_every_entry_comes_with_its_bytes_and_their_place(tmp_path: Path) -> None:
    entries = numbered_entries(3)
    shard = write_drop(tmp_path / "drop", entries) / "00000.tar"
    read = list(read_entries(str(shard)))
    assert [entry.alt_text_raw for entry in read] == [entry.alt_text for entry in entries]
    for entry, built in zip(read, entries, strict=True):
        assert entry.image == built.image
        with shard.open("rb") as file:
            file.seek(entry.image_offset or 0)
            assert file.read(len(built.image or b"")) == built.image
    assert webdataset.stated_count(f"{shard.parent}/00000_stats.json") == 3


def test_failed_downloads_stand_in_the_sidecar_alone(tmp_path: Path) -> None:
    failed = DropEntry("gone", None, status="failed_to_download", error="timed out")
    shard = write_drop(tmp_path / "drop", [*numbered_entries(1), failed]) / "00000.tar"
    entry = list(read_entries(str(shard)))[1]
    assert entry.fault == ("failed_to_download", "timed out")
    assert entry.image is None


def test_an_unfinished_tar_loses_no_entry(tmp_path: Path) -> None:
    shard = write_drop(tmp_path / "drop", numbered_entries(6)) / "00000.tar"
    data = shard.read_bytes()
    for length in (len(data) // 2, len(data) // 2 + 700, 100, 0):
        shard.write_bytes(data[:length])
        entries = list(read_entries(str(shard)))
        assert len(entries) == 6
        broken = [entry for entry in entries if entry.fault]
        assert broken
        assert all(entry.fault and entry.fault[0] in ("truncated_shard", "missing_picture") for entry in broken)


def test_links_and_paths_that_climb_are_never_followed(tmp_path: Path) -> None:
    folder = write_drop(tmp_path / "drop", numbered_entries(1))
    (tmp_path / "secret.png").write_bytes(b"secret")
    with tarfile.open(folder / "00000.tar", "w") as tar:
        link = tarfile.TarInfo("000000000.png")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.png")
        tar.addfile(link)
        add_member(tar, "../../000000001.png", picture(1))
    entries = {entry.source_key: entry for entry in read_entries(str(folder / "00000.tar"))}
    assert entries["000000000"].fault == ("missing_picture", "the shard has no picture of that key")
    assert entries["../../000000001"].image == picture(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drop", "secret.png"]


def test_members_that_are_no_neighbours_belong_together(tmp_path: Path) -> None:
    folder = write_drop(tmp_path / "drop", numbered_entries(1))
    (folder / "00000.parquet").unlink()
    with tarfile.open(folder / "00000.tar", "w") as tar:
        add_member(tar, "b.png", picture(1))
        add_member(tar, "a.png", picture(2))
        add_member(tar, "b.txt", b"second")
        add_member(tar, "a.json", b'{"caption": "from the json", "url": "https://x.example/a"}')
    entries = {entry.source_key: entry for entry in read_entries(str(folder / "00000.tar"))}
    assert entries["b"].alt_text_raw == "second"
    assert (entries["a"].alt_text_raw, entries["a"].url) == ("from the json", "https://x.example/a")


def test_text_that_is_no_utf8_is_read_all_the_same(tmp_path: Path) -> None:
    folder = write_drop(tmp_path / "drop", numbered_entries(1))
    with tarfile.open(folder / "00000.tar", "w") as tar:
        add_member(tar, "000000000.png", picture())
        member = tarfile.TarInfo("000000000.txt")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"a\xff\x00"))
    assert next(iter(read_entries(str(folder / "00000.tar")))).alt_text_raw == "a\ufffd\x00"
