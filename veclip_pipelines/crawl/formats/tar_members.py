"""Where the members of a tar are, from its headers alone.

Plain ustar headers are read here because indexing a crawl reads three for each picture and tarfile takes 30 microseconds for
each; at the first header of another kind (GNU long names, pax, old tars, sizes beyond 8 GiB) tarfile reads the whole tar.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from dataclasses import dataclass

from veclip_pipelines.media.shards import ShardBytes

_BLOCK = 512
_REGULAR, _PASSED_OVER = (b"0", b"\0"), (b"1", b"2", b"3", b"4", b"5", b"6")
_ZEROS = bytes(_BLOCK)


@dataclass(frozen=True, slots=True)
class Member:
    """A regular member. Its name is a stranger's and is never used as a path."""

    name: str
    offset: int
    size: int


def list_members(shard: ShardBytes) -> tuple[list[Member], str]:
    """Every regular member, and what is wrong with the tar ("" if nothing). Links, devices and folders are skipped."""
    members: list[Member] = []
    at = 0
    while at + _BLOCK <= shard.size:
        header = shard.read_at(at, _BLOCK)
        kind = header[156:157]
        if header == _ZEROS:
            return members, ""
        if header[257:262] != b"ustar" or kind not in _REGULAR + _PASSED_OVER or not _checksum_holds(header):
            return _by_tarfile(shard)
        digits = header[124:136].strip(b" \0")
        if not digits.isdigit() and digits:
            return _by_tarfile(shard)
        size = int(digits or b"0", 8) if kind in _REGULAR else 0
        name = header[:100].partition(b"\0")[0]
        if prefix := header[345:500].partition(b"\0")[0]:
            if header[257:263] != b"ustar\0":  # GNU keeps other things there
                return _by_tarfile(shard)
            name = prefix + b"/" + name
        data = at + _BLOCK
        if kind in _REGULAR:
            if data + size > shard.size:
                return members, _ends_inside(name.decode("utf-8", "replace"))
            members.append(Member(name.decode("utf-8", "surrogateescape"), data, size))
        at = data + (size + _BLOCK - 1) // _BLOCK * _BLOCK
    return members, "" if at >= shard.size else "the tar ends inside a header"


def _checksum_holds(header: bytes) -> bool:
    try:
        stated = int(header[148:156].strip(b" \0") or b"0", 8)
    except ValueError:
        return False
    # The low half of Adler-32 is 1 plus the sum of the bytes, modulo 65521: a sum in C; Python's own takes as long as everything else.
    summed = (zlib.adler32(header) & 0xFFFF) - 1 - sum(header[148:156]) + 8 * 0x20
    return (stated - summed) % 65521 == 0


def _by_tarfile(shard: ShardBytes) -> tuple[list[Member], str]:
    members: list[Member] = []
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Raw(shard)), mode="r:") as tar:
            for member in tar:
                if not member.isreg():
                    continue
                if member.offset_data + member.size > shard.size:
                    return members, _ends_inside(member.name)
                members.append(Member(member.name, member.offset_data, member.size))
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        return members, f"{type(error).__name__}: {error}"
    return members, ""


def _ends_inside(name: str) -> str:
    return f"the tar ends inside member {name[:80]!r}"


class _Raw(io.RawIOBase):
    """A shard as the file object that tarfile wants."""

    def __init__(self, shard: ShardBytes) -> None:
        self._shard, self._at = shard, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._shard.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._shard.read_at(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
