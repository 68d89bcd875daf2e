"""Pictures stay in their shards: a row holds where its picture begins and how long it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import BinaryIO

import fsspec


@dataclass(frozen=True, order=True)
class ByteRange:
    """Bytes of a shard: folder path or URI, offset, length."""

    shard_uri: str
    offset: int
    length: int


def open_shard(uri: str) -> BinaryIO:
    """Opens a shard for reading with seeks, on this machine or on any store that fsspec knows."""
    return fsspec.open(uri, "rb").open()  # type: ignore[no-any-return]


def read_ranges(ranges: Iterable[ByteRange]) -> Iterator[bytes]:
    """The bytes of each range, in the order given; ranges in shard order open each shard once."""
    for uri, group in groupby(ranges, key=lambda item: item.shard_uri):
        with open_shard(uri) as shard:
            for item in group:
                shard.seek(item.offset)
                yield shard.read(item.length)
