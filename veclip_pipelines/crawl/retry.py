"""Retrying only those rows that were rejected for a reason that may have passed: one commit for all of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.crawl.collect import with_pictures
from veclip_pipelines.crawl.formats.base import Entry
from veclip_pipelines.crawl.formats.registry import format_named
from veclip_pipelines.crawl.index import Crawl, shard_rows, without_taken_down
from veclip_pipelines.crawl.outcomes import reject_repeats
from veclip_pipelines.crawl.takedown_rules import read_rules
from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.storage import remove
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.schemas.shared_columns import REJECTED
from veclip_pipelines.tables.commit import files_of, partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile, claim_file, find_file, read_file
from veclip_pipelines.tables.query import TAKEN_DOWN


@dataclass(frozen=True)
class _RetryTask:
    crawl: Crawl
    file: DataFile
    reasons: tuple[str, ...]
    version: int


@dataclass(frozen=True)
class _RetryDone:
    before: str
    file: DataFile
    tried: int


@dataclass(frozen=True)
class RetryResult:
    """Number of rows tried again, how many of them are kept now, and the commit's version."""

    tried: int
    kept: int
    delta_version: int
    changed: bool


def retry_rejects(
    crawl: Crawl, reasons: Sequence[str], runner: Runner, *, properties: Mapping[str, str]
) -> RetryResult:
    """Reads or fetches again the rows of a partition that were rejected for one of these reasons.

    Raises:
        UsageError: a reason that another try cannot change (repeat), or a partition that has no such rows.
    """
    if "repeat" in reasons:
        raise UsageError("a repeat is the same sample a second time: there is nothing to try again")
    if TAKEN_DOWN in reasons:
        raise UsageError("what was taken down is not tried again")
    warehouse, partition = crawl.warehouse, crawl.partition
    table = warehouse.open(RAW_CRAWL)
    expected, files = partition_files(table, partition), files_of(table, partition)
    if table is not None and any("source_uri" not in _schema(crawl, file) for file in files):
        raise UsageError(
            f"crawl partition {crawl.crawl_partition!r} was indexed by an older version: materialise raw_crawl first."
        )
    version = table.version() if table is not None else 0
    tasks = [
        _RetryTask(crawl, file, tuple(sorted(reasons)), version) for file in files if _matching(crawl, file, reasons)
    ]
    if not tasks:
        raise UsageError(
            f"crawl partition {crawl.crawl_partition!r} has no row that was rejected for {', '.join(reasons)}. "
            "veclip crawl rejects lists the reasons that occur."
        )
    done = {item.before: item for item in runner.run(retry_shard, tasks, label="raw_crawl-retry")}
    before = sum(_kept(crawl, file) for file in files)
    merged = [done[file.path].file if file.path in done else file for file in files]
    merged = reject_repeats(warehouse, partition, merged)
    commit = replace_partition(warehouse, RAW_CRAWL, partition, merged, expected=expected, properties=properties)
    kept = sum(_kept(crawl, file) for file in merged) - before
    return RetryResult(sum(item.tried for item in done.values()), kept, commit.version, commit.written)


def retry_shard(task: _RetryTask) -> _RetryDone:
    """Tries again one data file's rows; the others stay as they are. Runs on a worker."""
    crawl, file = task.crawl, task.file
    stem = file.path.rpartition("/")[2].removesuffix(".parquet")
    digest = hashlib.sha256("\0".join((stem, str(task.version), *task.reasons)).encode()).hexdigest()[:8]
    name = f"{stem.partition('.')[0]}.{digest}"
    rows = read_file(crawl.warehouse, RAW_CRAWL, file)
    marked = _mask(rows, task.reasons)
    tried = int(pc.sum(marked).as_py() or 0)
    if found := find_file(crawl.warehouse, RAW_CRAWL, crawl.partition, name):
        return _RetryDone(file.path, found, tried)
    again = rows.filter(marked)
    (source_uri,) = again["source_uri"].unique().to_pylist()  # a file of rows comes from one source
    tar = None if format_named(crawl.drop.format).kind == "in_place" else crawl.new_tar(name)
    tried_rows = shard_rows(crawl, source_uri, _entries(crawl, source_uri, again.to_pylist()), tar)
    merged = pa.concat_tables([rows.filter(pc.invert(marked)), tried_rows])
    written, ours = claim_file(crawl.warehouse, RAW_CRAWL, crawl.partition, name, merged)
    if tar is not None and not ours:
        remove(tar)
    return _RetryDone(file.path, written, tried)


def _entries(crawl: Crawl, source_uri: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Entry]:
    """The rows' entries with their pictures: fetched from the URLs in the rows, or read from the drop again."""
    if crawl.fetches:
        listed = without_taken_down((_entry(row) for row in rows), read_rules(crawl.warehouse))
        return with_pictures(listed, crawl.drop.uri, crawl.policy.fetch)
    entries = _read_again(crawl, source_uri, rows)
    if format_named(crawl.drop.format).kind == "listed":
        return with_pictures(entries, crawl.drop.uri, crawl.policy.fetch)
    return entries


def _read_again(crawl: Crawl, source_uri: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Entry]:
    """The entries of these rows, read from the drop; one that the drop no longer has stays a reject that says so."""
    missing = {str(row["source_key"]): row for row in rows}
    path = source_uri.removeprefix(crawl.drop.uri.rstrip("/") + "/")
    for entry in format_named(crawl.drop.format).read(crawl.drop.uri, path):
        if missing.pop(entry.source_key, None) is not None:
            yield entry
    for row in missing.values():
        yield _entry(row, fault=("missing_entry", "the drop no longer has this entry"))


def _entry(row: Mapping[str, Any], fault: tuple[str, str] | None = None) -> Entry:
    """A row's entry as it was listed, its picture still to be fetched."""
    return Entry(
        source_key=row["source_key"],
        url=row["url"],
        alt_text_raw=row["alt_text_raw"] or "",
        page_url=row["page_url"],
        captions={item["name"]: item["text"] for item in row["captions"] or []},
        extra=json.loads(row["extra"] or "{}"),
        fault=fault,
    )


def _schema(crawl: Crawl, file: DataFile) -> list[str]:
    path = crawl.warehouse.path(RAW_CRAWL, file.path)
    return list(pq.read_schema(path, filesystem=crawl.warehouse.filesystem).names)


def _mask(rows: pa.Table, reasons: Sequence[str]) -> pa.ChunkedArray:
    chosen = pc.is_in(rows["reason"], value_set=pa.array(list(reasons), pa.string()))
    return pc.and_(pc.equal(rows["outcome"], REJECTED), chosen)


def _matching(crawl: Crawl, file: DataFile, reasons: Sequence[str]) -> bool:
    return bool(pc.any(_mask(read_file(crawl.warehouse, RAW_CRAWL, file, ["outcome", "reason"]), reasons)).as_py())


def _kept(crawl: Crawl, file: DataFile) -> int:
    outcomes = read_file(crawl.warehouse, RAW_CRAWL, file, ["outcome"])["outcome"]
    return int(pc.sum(pc.not_equal(outcomes, REJECTED)).as_py() or 0)
