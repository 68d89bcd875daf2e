"""Files beside the tables: whole or absent, on this machine and on a store alike."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from veclip_pipelines.media.storage import (
    files_under,
    is_file,
    is_folder,
    is_there,
    is_url,
    names_in,
    open_file,
    open_text,
    put_bytes,
    put_text,
    read_bytes,
    remove,
    replace_content,
    scratch_in,
    size_of,
    whole_file,
    whole_folder,
    zero_ranges,
)


@pytest.fixture(params=["folder", "store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place with nothing in it: a folder, and fsspec's store in memory."""
    if request.param == "folder":
        return str(tmp_path / "place")
    place = f"memory://{tmp_path.name}"
    fsspec.filesystem("memory").mkdirs(f"/{tmp_path.name}")
    return place


@pytest.mark.parametrize("uri", ["s3://bucket/a", "memory://a", "simplecache::gs://bucket/a", "file:///tmp/a"])
def test_a_url(uri: str) -> None:
    assert is_url(uri)


@pytest.mark.parametrize("path", ["/a/b", "a/b.tar", "../a", "a:b/c", "/a/odd name://b"])
def test_a_path(path: str) -> None:
    assert not is_url(path)


def test_written_and_found_again(root: str) -> None:
    put_bytes(f"{root}/b.bin", b"12345")
    put_text(f"{root}/deep/a.txt", "Grüße")
    assert [(file.path, file.size) for file in files_under(root)] == [("b.bin", 5), ("deep/a.txt", 7)]
    assert [read_bytes(file.uri) for file in files_under(root)] == [b"12345", "Grüße".encode()]
    assert all(file.changed is not None for file in files_under(root))
    assert [(file.path, file.size) for file in files_under(f"{root}/b.bin")] == [("b.bin", 5)]
    assert names_in(root) == ["b.bin", "deep"]
    assert names_in(root, folders_only=True) == ["deep"]
    assert (size_of(f"{root}/b.bin"), size_of(root)) == (5, 12)
    assert (is_file(f"{root}/b.bin"), is_folder(f"{root}/b.bin"), is_folder(f"{root}/deep")) == (True, False, True)
    with open_text(f"{root}/deep/a.txt") as text, open_file(f"{root}/b.bin") as data:
        data.seek(3)
        assert (text.read(), data.read()) == ("Grüße", b"45")
    remove(f"{root}/deep")
    remove(f"{root}/deep")
    assert not is_there(f"{root}/deep")
    assert list(files_under(f"{root}/deep")) == []
    with pytest.raises(FileNotFoundError):
        size_of(f"{root}/deep")


def test_a_file_is_there_when_it_is_whole(root: str) -> None:
    with whole_file(f"{root}/a") as scratch:
        scratch.write_bytes(b"half")
        assert not is_there(f"{root}/a")
        scratch.write_bytes(b"whole")
    assert read_bytes(f"{root}/a") == b"whole"
    assert not scratch.exists()


def fill_the_disk(uri: str) -> None:
    with whole_file(uri, durable=True) as scratch:
        scratch.write_bytes(b"half")
        raise OSError("full")


def test_a_block_that_fails_leaves_what_was_there(root: str) -> None:
    put_bytes(f"{root}/a", b"before")
    with pytest.raises(OSError, match="full"):
        fill_the_disk(f"{root}/a")
    with whole_file(f"{root}/a", may_be_dropped=True) as given_up:
        given_up.write_bytes(b"half")
        given_up.unlink()
    assert read_bytes(f"{root}/a") == b"before"
    assert [file.path for file in files_under(root)] == ["a"]


def test_a_scratch_is_passed_over_and_found(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.tar", durable=True) as one, whole_file(tmp_path / "a.tar") as other:
        assert one != other
        assert all(path.name.startswith(".a.tar.") for path in (one, other))
        for path in (one, other):
            path.write_bytes(b"x")
        assert scratch_in(tmp_path) == sorted([one, other])
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_a_name_as_long_as_a_name_may_be(tmp_path: Path) -> None:
    put_bytes(tmp_path / ("n" * 255), b"x")
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


def test_a_long_name_of_wide_characters(tmp_path: Path) -> None:
    put_bytes(tmp_path / ("日" * 80), b"x")
    assert (tmp_path / ("日" * 80)).read_bytes() == b"x"


def lose_the_scratch(target: Path) -> None:
    with whole_file(target) as scratch:
        scratch.write_bytes(b"x")
        scratch.unlink()


def test_a_scratch_that_somebody_took_away_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lose_the_scratch(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_there_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "models" / "one"
    with whole_folder(target) as scratch:
        (scratch / "weights").write_bytes(b"x")
        assert not target.exists()
        assert scratch_in(target.parent) == [scratch]
    assert [path.name for path in target.iterdir()] == ["weights"]
    with pytest.raises(ValueError, match="no"), whole_folder(tmp_path / "models" / "two") as scratch:
        raise ValueError("no")
    with pytest.raises(OSError, match="not empty"), whole_folder(target) as scratch:
        (scratch / "weights").write_bytes(b"y")
    assert [path.name for path in target.parent.iterdir()] == ["one"]
    assert (target / "weights").read_bytes() == b"x"


def test_ranges_become_zeros_where_they_lie(root: str) -> None:
    put_bytes(f"{root}/a", b"abcdefgh")
    zero_ranges(f"{root}/a", [(1, 2), (6, 10)])
    assert read_bytes(f"{root}/a") == b"a\0\0def\0\0"
    zero_ranges(f"{root}/gone", [])
    with pytest.raises(FileNotFoundError):
        zero_ranges(f"{root}/gone", [(0, 1)])


def test_neither_zeros_nor_other_content_change_time_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18))
    zero_ranges(str(path), [(0, 1)])
    replace_content(str(path), b"\0xyz")
    assert path.read_bytes() == b"\0xyz"
    assert (path.stat().st_mtime_ns, path.stat().st_mode & 0o777) == (10**18, 0o640)
