"""Where members are: the same as tarfile says, for any tar."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veclip_pipelines.crawl.formats.tar_members import Member, list_members
from veclip_pipelines.media.shards import open_bytes

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def tar_of(members: list[tuple[str, bytes]], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def by_tarfile(data: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [Member(member.name, member.offset_data, member.size) for member in tar if member.isreg()]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.text("abcäß/._-0", min_size=1, max_size=140), st.binary(max_size=1100)), max_size=6),
    st.sampled_from(FORMATS),
)
def test_members_are_tarfiles(members: list[tuple[str, bytes]], form: int) -> None:
    try:
        data = tar_of([(name.strip("/") or "x", body) for name, body in members], form)
    except ValueError:  # a name that ustar cannot hold
        return
    assert list_members(Bytes(data)) == (by_tarfile(data), "")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 4000))
def test_whatever_the_bytes_are_nothing_is_raised(noise: bytes, cut: int) -> None:
    whole = tar_of([("a.jpg", b"x" * 700), ("a.txt", b"text")], tarfile.USTAR_FORMAT)
    for data in (noise, whole[:cut], whole[:cut] + noise):
        members, _ = list_members(Bytes(data))
        assert all(member.offset + member.size <= len(data) for member in members)


def test_links_devices_and_folders_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo("00.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("01.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    with open_bytes(str(path)) as shard:
        members, broken = list_members(shard)
        assert [(member.name, shard.read_at(member.offset, member.size)) for member in members] == [("01.jpg", b"abc")]
        assert broken == ""


@pytest.mark.parametrize("size", [0, 511])
def test_an_empty_or_tiny_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(size))
    with open_bytes(str(path)) as shard:
        assert list_members(shard)[0] == []
