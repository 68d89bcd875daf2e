"""Pictures stay in their shards: a row holds where its picture begins and how long it is."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Protocol

import fsspec


@dataclass(frozen=True, order=True)
class ByteRange:
    """Bytes of a shard: folder path or URI, offset, length."""

    shard_uri: str
    offset: int
    length: int


class ShardBytes(Protocol):
    """A shard that is read by place."""

    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes of a range; fewer where the shard ends before."""
        ...


class _Mapped:
    """A local shard, mapped: a range costs one copy and no system call."""

    def __init__(self, file: BinaryIO) -> None:
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._map.madvise(mmap.MADV_SEQUENTIAL)
        self.size = len(self._map)

    def read_at(self, offset: int, length: int) -> bytes:
        return self._map[offset : offset + length]

    def close(self) -> None:
        self._map.close()


class _Seeking:
    """A shard on a store that fsspec knows, or an empty file, which cannot be mapped."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)

    def read_at(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)


def open_shard(uri: str) -> BinaryIO:
    """Opens a shard for reading with seeks, on this machine or on any store that fsspec knows."""
    return fsspec.open(uri, "rb").open()  # type: ignore[no-any-return]


@contextmanager
def open_bytes(uri: str) -> Iterator[ShardBytes]:
    """Opens a shard to be read by place."""
    if "://" in uri or Path(uri).stat().st_size == 0:
        with open_shard(uri) as file:
            yield _Seeking(file)
        return
    with Path(uri).open("rb") as file:
        mapped = _Mapped(file)
        try:
            yield mapped
        finally:
            mapped.close()


def read_ranges(ranges: Iterable[ByteRange]) -> Iterator[bytes]:
    """The bytes of each range, in the order given; ranges in shard order open each shard once."""
    for uri, group in groupby(ranges, key=lambda item: item.shard_uri):
        with open_shard(uri) as shard:
            for item in group:
                shard.seek(item.offset)
                yield shard.read(item.length)
