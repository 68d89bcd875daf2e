"""Pictures stay in their shards: a row records where its picture begins and how long it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Protocol

from veclip_pipelines.media.storage import is_url, open_file


@dataclass(frozen=True, order=True)
class ByteRange:
    """Bytes of a shard: folder path or URI, offset, length."""

    shard_uri: str
    offset: int
    length: int


class ShardBytes(Protocol):
    """A shard that is read by offset and length."""

    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes of a range; fewer if the shard ends before it."""
        ...


class _Local:
    """A shard in a local file: one system call per range, no shared file position, and no mapping that counts as memory."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)


class _Seeking:
    """A shard on a store that fsspec supports."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)

    def read_at(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)


@contextmanager
def open_bytes(uri: str) -> Iterator[ShardBytes]:
    """Opens a shard to be read by offset and length."""
    if is_url(uri):
        with open_file(uri) as file:
            yield _Seeking(file)
        return
    with Path(uri).open("rb", buffering=0) as local:
        yield _Local(local.fileno())


def read_ranges(ranges: Iterable[ByteRange]) -> Iterator[bytes]:
    """The bytes of each range, in the order given; if ranges are sorted by shard, each shard is opened once."""
    for uri, group in groupby(ranges, key=lambda item: item.shard_uri):
        with open_file(uri) as shard:
            for item in group:
                shard.seek(item.offset)
                yield shard.read(item.length)


def read_range(item: ByteRange) -> bytes:
    """One picture's bytes; the shards that a thread has read most recently stay open.

    Raises:
        OSError: the shard is gone or shorter than it was.
    """
    shards = _shards()
    if item.shard_uri not in shards:
        while len(shards) >= _OPEN_SHARDS:
            shards.pop(next(iter(shards))).close()
        stack = ExitStack()
        shards[item.shard_uri] = _OpenShard(stack.enter_context(open_bytes(item.shard_uri)), stack)
    data = shards[item.shard_uri].shard.read_at(item.offset, item.length)
    if len(data) != item.length:
        raise OSError(f"{len(data)} bytes are left of {item.length}")
    return data


@dataclass(frozen=True)
class _OpenShard:
    shard: ShardBytes
    stack: ExitStack

    def close(self) -> None:
        self.stack.close()


_OPEN_SHARDS = 128
_per_thread = threading.local()


def _shards() -> dict[str, _OpenShard]:
    """The shards that this thread has open, oldest first."""
    if not hasattr(_per_thread, "shards"):
        _per_thread.shards = {}
    found: dict[str, _OpenShard] = _per_thread.shards
    return found
