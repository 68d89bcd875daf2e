"""Pictures stay in their shards: a row holds where its picture begins and how long it is."""

from __future__ import annotations

import os
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


class _Local:
    """A shard in a local file: one system call a range, no place of the file's own, and no mapping that counts as memory."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)


class _Seeking:
    """A shard on a store that fsspec knows."""

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
    if "://" in uri:
        with open_shard(uri) as file:
            yield _Seeking(file)
        return
    with Path(uri).open("rb", buffering=0) as local:
        yield _Local(local.fileno())


def read_ranges(ranges: Iterable[ByteRange]) -> Iterator[bytes]:
    """The bytes of each range, in the order given; ranges in shard order open each shard once."""
    for uri, group in groupby(ranges, key=lambda item: item.shard_uri):
        with open_shard(uri) as shard:
            for item in group:
                shard.seek(item.offset)
                yield shard.read(item.length)
