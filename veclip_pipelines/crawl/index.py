"""Indexing a crawl drop: every entry becomes a row of raw_crawl, kept or rejected with a reason."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
from msgspec.structs import replace

from veclip_pipelines import stages
from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.crawl.collect import with_pictures
from veclip_pipelines.crawl.drops import Drop
from veclip_pipelines.crawl.formats.base import Entry, join
from veclip_pipelines.crawl.formats.registry import format_named
from veclip_pipelines.crawl.formats.tables import PICTURE_FOLDER
from veclip_pipelines.crawl.lists import ListTask, list_source, listed_before, read_list
from veclip_pipelines.crawl.outcomes import TooFewKeptError, check_success_share, reject_repeats, remove_transient
from veclip_pipelines.crawl.packing import pack_tar
from veclip_pipelines.crawl.policy import CrawlPolicy
from veclip_pipelines.crawl.rows import RowMaker, rows_table
from veclip_pipelines.crawl.takedown_rules import Rules, read_rules
from veclip_pipelines.errors import CommitConflictError
from veclip_pipelines.media.storage import remove
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.schemas.takedown_schemas import TAKEDOWNS
from veclip_pipelines.tables.commit import files_of, partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile, claim_file, find_file
from veclip_pipelines.tables.query import TAKEN_DOWN
from veclip_pipelines.tables.warehouse import Warehouse

CODE_VERSION = stages.RAW_CRAWL.code_version


@dataclass(frozen=True)
class Crawl:
    """A drop and the crawl partition that it becomes.

    Attributes:
        shards: folder or URI for tars of our own.
        policy: how pictures are fetched, and the share of entries that a partition must keep.
        nsfw: name and version of the NSFW model, "" if pictures are not scored.
    """

    warehouse: Warehouse
    crawl_partition: str
    drop: Drop
    shards: str
    policy: CrawlPolicy = field(default_factory=CrawlPolicy)
    nsfw: str = ""

    @property
    def partition(self) -> dict[str, str]:
        return {"crawl_partition": self.crawl_partition}

    def own_shards(self) -> str:
        return f"{self.shards.rstrip('/')}/{self.crawl_partition}"

    @property
    def fetches(self) -> bool:
        """Whether the drop's pictures are fetched by URL."""
        return format_named(self.drop.format).kind == "listed" and self.drop.format != PICTURE_FOLDER.name

    def new_tar(self, name: str) -> str:
        """Where a task packs pictures. Each attempt has a tar of its own: rows of a rival attempt never point into ours."""
        return f"{self.own_shards()}/{name}.{uuid.uuid4().hex[:8]}.tar"

    def name_of(self, source: str, number: int | None = None) -> str:
        """Names a shard's file after everything its rows are made from: a rerun finds it, a changed drop does not."""
        stem = source.rpartition("/")[2].partition(".")[0]
        safe = "".join(char if char.isalnum() else "_" for char in stem)[:40]
        size = "" if number is None else str(self.policy.entries_per_shard)
        made_from = (CODE_VERSION, self.nsfw, self.drop.fingerprint, source, size)
        digest = hashlib.sha256("\0".join(made_from).encode()).hexdigest()[:16]
        return f"shard-{safe}-{digest}" + ("" if number is None else f"-{number:06d}")


@dataclass(frozen=True)
class _ShardTask:
    crawl: Crawl
    source: str
    name: str
    entry_list: str | None = None


@dataclass(frozen=True)
class _ShardDone:
    file: DataFile
    found: bool


@dataclass(frozen=True)
class IndexResult:
    """What indexing did: shards read in this run, shards whose finished file was reused, entries, and the commit's version."""

    shards_read: int
    shards_found: int
    entries: int
    delta_version: int
    changed: bool


def index_drop(crawl: Crawl, runner: Runner, *, properties: Mapping[str, str]) -> IndexResult:
    """Replaces a crawl partition with the rows of a drop: one task per shard, and one commit.

    A shard's file is named after everything it is made from: a rerun after a crash reuses finished shards, a rerun of an
    unchanged drop changes nothing, and rows that a retry has since recovered stay as they are.

    Raises:
        VeclipError: a smaller share of entries was kept than the policy asks for; the causes are counted, the table is unchanged.
        UsageError: a file of the drop does not fit its format.
    """
    warehouse, partition = crawl.warehouse, crawl.partition
    takedowns = _takedowns(warehouse)
    table = warehouse.open(RAW_CRAWL)
    expected = partition_files(table, partition)
    held = {_base(file.path): file for file in files_of(table, partition)}
    tasks, stated = _tasks(crawl, runner, set(held))
    todo = [task for task in tasks if task.name not in held]
    done = {_base(shard.file.path): shard for shard in runner.run(index_shard, todo, label="raw_crawl")}
    files = [done[task.name].file if task.name in done else held[task.name] for task in tasks]
    try:
        check_success_share(warehouse, files, crawl.policy.minimum_success_share)
    except TooFewKeptError:
        remove_transient(warehouse, [shard.file for shard in done.values()])
        raise
    files = reject_repeats(warehouse, partition, files)
    if _takedowns(warehouse) != takedowns:
        for shard in done.values():
            warehouse.filesystem.delete_file(warehouse.path(RAW_CRAWL, shard.file.path))
        raise CommitConflictError(
            f"raw_crawl, partition {crawl.crawl_partition}: something was taken down while it was read. The table is unchanged; "
            "run it again."
        )
    commit = replace_partition(warehouse, RAW_CRAWL, partition, files, expected=expected, properties=properties)
    for entry_list in {task.entry_list for task in tasks} - {None}:
        remove(str(entry_list))
    read = sum(not shard.found for shard in done.values())
    entries = stated if stated is not None else sum(file.rows for file in files)
    return IndexResult(read, len(tasks) - read, entries, commit.version, commit.written)


def _tasks(crawl: Crawl, runner: Runner, held: set[str]) -> tuple[list[_ShardTask], int | None]:
    """One task for each shard, and the number of entries, counted independently of the rows.

    Args:
        held: names of the shards already in the table: their sources are not cut into lists again.
    """
    drop = crawl.drop
    if format_named(drop.format).kind != "listed":
        return [_ShardTask(crawl, source, crawl.name_of(source)) for source in drop.sources], drop.entries
    lists = [
        ListTask(
            drop.uri,
            drop.format,
            source,
            f"{crawl.own_shards()}/lists/{crawl.name_of(source)}",
            crawl.policy.entries_per_shard,
        )
        for source in drop.sources
    ]
    sources = {join(drop.uri, source): source for source in drop.sources}
    found, todo = [], []
    for task in lists:
        before = listed_before(task)
        if before is not None and all(crawl.name_of(task.path, item.number) in held for item in before):
            found += before
        else:
            todo.append(task)
    for cut in runner.run(list_source, todo, label="raw_crawl-lists"):
        found += cut
    tasks = [
        _ShardTask(crawl, source, crawl.name_of(source, item.number), item.uri)
        for item in sorted(found, key=lambda item: (item.source_uri, item.number))
        for source in [sources[item.source_uri]]
    ]
    listed = sum(item.entries for item in found)
    return tasks, listed if drop.entries is None else drop.entries


def index_shard(task: _ShardTask) -> _ShardDone:
    """Reads or fetches one shard and writes its rows, unless an earlier task finished that file. Runs on a worker."""
    crawl = task.crawl
    if file := find_file(crawl.warehouse, RAW_CRAWL, crawl.partition, task.name):
        return _ShardDone(file, found=True)
    source_uri, format_ = join(crawl.drop.uri, task.source), format_named(crawl.drop.format)
    if task.entry_list is None:
        entries = format_.read(crawl.drop.uri, task.source)
    else:
        wanted = without_taken_down(read_list(task.entry_list), read_rules(crawl.warehouse))
        entries = with_pictures(wanted, crawl.drop.uri, crawl.policy.fetch)
    tar = None if format_.kind == "in_place" else crawl.new_tar(task.name)
    # After the tar, so that whenever a file of rows exists, the pictures it points to do too.
    rows = shard_rows(crawl, source_uri, entries, tar)
    file, ours = claim_file(crawl.warehouse, RAW_CRAWL, crawl.partition, task.name, rows)
    if tar is not None and not ours:
        remove(tar)
    return _ShardDone(file, found=not ours)


def shard_rows(crawl: Crawl, source_uri: str, entries: Iterator[Entry], tar: str | None) -> pa.Table:
    """The rows of entries whose pictures are packed into ``tar``, or are in the source itself (None)."""
    rules = read_rules(crawl.warehouse)
    if tar is None:
        maker = RowMaker(source_uri, source_uri, nsfw=bool(crawl.nsfw), rules=rules)
        return rows_table(maker.row(entry) for entry in entries)
    with pack_tar(tar) as packer:
        fetched_at = datetime.now(UTC) if crawl.fetches else None
        maker = RowMaker(source_uri, tar, packer, bool(crawl.nsfw), fetched_at, rules)
        return rows_table(maker.row(entry) for entry in entries)


def _takedowns(warehouse: Warehouse) -> int:
    """Version of the record of takedowns."""
    table = warehouse.open(TAKEDOWNS)
    return -1 if table is None else table.version()


def without_taken_down(entries: Iterable[Entry], rules: Rules) -> Iterator[Entry]:
    """The entries, changed so that those whose address was taken down are not fetched again."""
    for entry in entries:
        out = rules.against_address(entry.url, entry.page_url)
        yield entry if out is None else replace(entry, fault=(TAKEN_DOWN, out))


def _base(path: str) -> str:
    """The shard that a data file belongs to: files written by a retry or by the marking of repeats have a suffix after a dot."""
    return path.rpartition("/")[2].partition(".")[0]
