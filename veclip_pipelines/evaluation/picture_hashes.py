"""SHA-256 and perceptual hash of a benchmark's pictures: what a score was measured on, and what must not be trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.pictures import PictureError, examine
from veclip_pipelines.media.shards import ByteRange, read_range
from veclip_pipelines.media.storage import whole_file

_KEY = b"veclip.listing"


@dataclass(frozen=True)
class Fingerprints:
    """Of each picture in the benchmark's order."""

    sha256: list[str]
    phash: list[str]


def fingerprints(name: str, pictures: Sequence[ByteRange], home: Path) -> Fingerprints:
    """Reads each picture once: the result is cached until names, sizes or times of the files change.

    Raises:
        UsageError: a picture cannot be read.
    """
    times = {uri: Path(uri).stat().st_mtime_ns for uri in {picture.shard_uri for picture in pictures}}
    listing = json.dumps([[item.shard_uri, item.offset, item.length, times[item.shard_uri]] for item in pictures])
    key = hashlib.sha256(listing.encode()).hexdigest().encode()
    path = home / "cache" / "benchmarks" / f"{name}.parquet"
    if path.is_file() and (pq.read_schema(path).metadata or {}).get(_KEY) == key:
        table = pq.read_table(path)
        return Fingerprints(table["sha256"].to_pylist(), table["phash"].to_pylist())
    with ThreadPoolExecutor() as executor:
        found = list(executor.map(_look, pictures))
    result = Fingerprints([sha for sha, _ in found], [phash for _, phash in found])
    table = pa.table({"sha256": result.sha256, "phash": result.phash}).replace_schema_metadata({_KEY: key})
    with whole_file(path) as scratch:
        pq.write_table(table, scratch)
    return result


def _look(picture: ByteRange) -> tuple[str, str]:
    try:
        data = read_range(picture)
        return hashlib.sha256(data).hexdigest(), examine(data).phash
    except (OSError, PictureError) as error:
        raise UsageError(
            f"a benchmark's picture cannot be read: {picture.shard_uri} at {picture.offset}: {error}"
        ) from error
