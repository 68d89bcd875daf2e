"""Indexing a crawl drop: every entry becomes a row of raw_crawl, kept or rejected with a reason."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from veclip_pipelines.crawl import img2dataset
from veclip_pipelines.crawl.drops import Drop
from veclip_pipelines.crawl.entries import Entry
from veclip_pipelines.fanout import Runner
from veclip_pipelines.pictures import PictureError, examine
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile, find_file, table_of, write_file
from veclip_pipelines.tables.schemas import KEPT, RAW_CRAWL, REJECTED
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.texts import clean_alt_text, flags_of

CODE_VERSION = "raw_crawl.1"


@dataclass(frozen=True)
class _ShardTask:
    warehouse: Warehouse
    crawl_partition: str
    shard_uri: str
    name: str


@dataclass(frozen=True)
class _ShardDone:
    shard_uri: str
    file: DataFile
    found: bool


@dataclass(frozen=True)
class IndexResult:
    """What indexing did: shards read in this run, shards whose finished file was found, and the commit's version."""

    shards_read: int
    shards_found: int
    delta_version: int
    changed: bool


def sample_id_of(url: str | None, source_key: str, alt_text_raw: str, image_sha256: str | None) -> str:
    """32 hex of SHA-256 over URL (or source key), raw AltText and image_sha256.

    Stable over re-ingest and over partitions. Each part is preceded by its length, so that no two triples collide by
    where one part ends and the next begins.
    """
    digest = hashlib.sha256()
    for part in (url or source_key, alt_text_raw, image_sha256 or ""):
        data = part.encode("utf-8", "replace")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:32]


def index_drop(
    warehouse: Warehouse, drop: Drop, crawl_partition: str, runner: Runner, *, properties: Mapping[str, str]
) -> IndexResult:
    """Replaces a crawl partition by the rows of a drop, one task a shard and one commit.

    A shard's file is named by the drop's fingerprint and the code: a rerun after a crash takes up finished shards, and
    a rerun of an unchanged drop changes nothing.
    """
    partition = {"crawl_partition": crawl_partition}
    expected = partition_files(warehouse.open(RAW_CRAWL), partition)
    tasks = [_ShardTask(warehouse, crawl_partition, uri, _name(drop, uri)) for uri in drop.shards]
    done = sorted(runner.run(index_shard, tasks, label="raw_crawl"), key=lambda shard: shard.shard_uri)
    files = _reject_repeats(warehouse, partition, [shard.file for shard in done])
    commit = replace_partition(warehouse, RAW_CRAWL, partition, files, expected=expected, properties=properties)
    found = sum(shard.found for shard in done)
    return IndexResult(len(done) - found, found, commit.version, commit.written)


def index_shard(task: _ShardTask) -> _ShardDone:
    """Reads one shard and writes its rows, unless an earlier task finished that file. Runs on a worker."""
    partition = {"crawl_partition": task.crawl_partition}
    if file := find_file(task.warehouse, RAW_CRAWL, partition, task.name):
        return _ShardDone(task.shard_uri, file, found=True)
    rows = [_row(entry, task.shard_uri) for entry in img2dataset.read_entries(task.shard_uri)]
    file = write_file(task.warehouse, RAW_CRAWL, partition, task.name, table_of(RAW_CRAWL, rows))
    return _ShardDone(task.shard_uri, file, found=False)


def _name(drop: Drop, shard_uri: str) -> str:
    stem = shard_uri.rpartition("/")[2].removesuffix(".tar")
    safe = "".join(char if char.isalnum() else "_" for char in stem)[:40]
    digest = hashlib.sha256(f"{CODE_VERSION}\0{drop.fingerprint}\0{shard_uri}".encode()).hexdigest()[:16]
    return f"shard-{safe}-{digest}"


def _row(entry: Entry, shard_uri: str) -> dict[str, object]:
    alt_text = clean_alt_text(entry.alt_text_raw)
    row: dict[str, object] = {
        "url": entry.url,
        "page_url": entry.page_url,
        "alt_text": alt_text,
        "alt_text_raw": entry.alt_text_raw,
        "source_key": entry.source_key,
        "shard_uri": shard_uri,
        "image_offset": entry.image_offset,
        "image_length": None if entry.image is None else len(entry.image),
        "flags": flags_of(alt_text),
        "outcome": KEPT,
    }
    fault = entry.fault
    if entry.image is not None:
        row["image_sha256"] = hashlib.sha256(entry.image).hexdigest()
        try:
            facts = examine(entry.image)
        except PictureError as error:
            fault = (error.reason, error.detail)
        else:
            row |= {name: getattr(facts, name) for name in ("media_type", "width", "height", "phash")}
    if fault is not None:
        row |= {"outcome": REJECTED, "reason": fault[0], "detail": fault[1]}
    sha256 = row.get("image_sha256")
    row["sample_id"] = sample_id_of(
        entry.url, entry.source_key, entry.alt_text_raw, None if sha256 is None else str(sha256)
    )
    return row


def _reject_repeats(warehouse: Warehouse, partition: Mapping[str, str], files: Sequence[DataFile]) -> list[DataFile]:
    """Rejects all but the first of the samples that a partition holds more than once, in shard order."""
    seen: set[str] = set()
    result = []
    for file in files:
        path = warehouse.path(RAW_CRAWL, file.path)
        ids = pq.read_table(path, filesystem=warehouse.filesystem, columns=["sample_id", "outcome"], partitioning=None)
        repeats = []
        for row, (sample_id, outcome) in enumerate(
            zip(ids["sample_id"].to_pylist(), ids["outcome"].to_pylist(), strict=True)
        ):
            if outcome == KEPT and sample_id in seen:
                repeats.append(row)
            elif outcome == KEPT:
                seen.add(sample_id)
        result.append(_with_repeats(warehouse, partition, file, repeats) if repeats else file)
    return result


def _with_repeats(
    warehouse: Warehouse, partition: Mapping[str, str], file: DataFile, repeats: Sequence[int]
) -> DataFile:
    stem = file.path.rpartition("/")[2].removesuffix(".parquet")
    name = f"{stem}-{hashlib.sha256(str(list(repeats)).encode()).hexdigest()[:8]}"
    if found := find_file(warehouse, RAW_CRAWL, partition, name):
        return found
    rows = pq.read_table(warehouse.path(RAW_CRAWL, file.path), filesystem=warehouse.filesystem, partitioning=None)
    marked = set(repeats)
    mask = pa.array([row in marked for row in range(rows.num_rows)])
    for column, value in (
        ("outcome", REJECTED),
        ("reason", "repeat"),
        ("detail", "the same sample stands earlier in this partition"),
    ):
        at = rows.schema.get_field_index(column)
        rows = rows.set_column(at, RAW_CRAWL.schema.field(column), pc.if_else(mask, value, rows[column]))
    return write_file(warehouse, RAW_CRAWL, partition, name, rows)
