"""Crawl drops: a folder of shards as it arrived. One drop becomes one crawl partition."""

from __future__ import annotations

import getpass
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import fsspec

from veclip_pipelines.crawl import img2dataset
from veclip_pipelines.errors import UsageError
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.schemas import CRAWL_DROPS
from veclip_pipelines.tables.warehouse import Warehouse, check_partition_key

IMG2DATASET_WEBDATASET = "img2dataset-webdataset"


@dataclass(frozen=True)
class Drop:
    """What was found in a folder.

    Attributes:
        uri: the folder, absolute.
        format: how it is laid out.
        shards: URI of each shard, sorted.
        fingerprint: hash over names, sizes and times of all its files: changes when the drop grew or was replaced.
        entries: number of entries by the drop's own record.
    """

    uri: str
    format: str
    shards: tuple[str, ...]
    fingerprint: str
    entries: int


def inspect_drop(uri: str) -> Drop:
    """Looks at a folder and says what kind of drop it is.

    Raises:
        UsageError: it is not there, is no drop, is empty or is not finished; the message says what was looked for.
    """
    if "://" not in uri:
        uri = str(Path(uri).expanduser().resolve())
    filesystem, path = fsspec.core.url_to_fs(uri)
    if not filesystem.isdir(path):
        raise UsageError(
            f"{uri} is no folder. A crawl drop is a folder of shards: 00000.tar, 00000.parquet, 00000_stats.json."
        )
    files = {Path(info["name"]).name: info for info in filesystem.ls(path, detail=True) if info["type"] == "file"}
    tars = sorted(name for name in files if name.endswith(".tar"))
    if not tars:
        raise UsageError(
            f"{uri} is no crawl drop: it has no .tar file, where img2dataset's webdataset output "
            f"(00000.tar, 00000.parquet, 00000_stats.json) was expected. Found: {', '.join(sorted(files)[:5]) or 'nothing'}."
        )
    unfinished = [name for name in tars if img2dataset.stats_uri(name) not in files]
    if unfinished:
        raise UsageError(
            f"{uri} is not a finished img2dataset drop: {len(unfinished)} of {len(tars)} shards have no _stats.json "
            f"({', '.join(unfinished[:3])}). img2dataset writes it when a shard is done: wait for it, or run it again."
        )
    base = uri.rstrip("/")
    shards = tuple(f"{base}/{name}" for name in tars)
    entries = sum(img2dataset.count_entries(shard) for shard in shards)
    if entries == 0:
        raise UsageError(f"{uri} is an empty drop: its {len(tars)} shards record no entry at all.")
    return Drop(uri, IMG2DATASET_WEBDATASET, shards, _fingerprint(files), entries)


def _fingerprint(files: dict[str, dict[str, object]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        info = files[name]
        changed = info.get("mtime") or info.get("LastModified") or info.get("etag") or ""
        digest.update(f"{name}\0{info['size']}\0{changed}\n".encode())
    return digest.hexdigest()


def default_partition_key(drop: Drop) -> str:
    """The folder's own name, where it will do as a key."""
    return check_partition_key(Path(drop.uri).name)


def check_new(warehouse: Warehouse, drop: Drop, crawl_partition: str, *, replace: bool = False) -> None:
    """Raises UsageError where the drop, or another one under that key, is registered already."""
    check_partition_key(crawl_partition)
    for row in list_drops(warehouse):
        same_key, same_folder = row["crawl_partition"] == crawl_partition, row["uri"] == drop.uri
        if same_folder and not same_key:
            raise UsageError(f"{drop.uri} is registered already, as crawl partition {row['crawl_partition']!r}.")
        if same_key and not same_folder and not replace:
            raise UsageError(
                f"crawl partition {crawl_partition!r} is {row['uri']} already. Give the new drop another key, "
                "or say --replace if it is to take the old one's place."
            )
        if same_key and same_folder and row["fingerprint"] == drop.fingerprint:
            raise UsageError(
                f"{drop.uri} is registered already, as crawl partition {crawl_partition!r}, and is unchanged."
            )


def register_drop(
    warehouse: Warehouse, drop: Drop, crawl_partition: str, *, run_id: str, registered_by: str | None = None
) -> None:
    """Writes the drop down under its key; from then on raw_crawl reads that partition from it."""
    append_new(
        warehouse,
        CRAWL_DROPS,
        [
            {
                "crawl_partition": check_partition_key(crawl_partition),
                "uri": drop.uri,
                "format": drop.format,
                "fingerprint": drop.fingerprint,
                "shards": len(drop.shards),
                "entries": drop.entries,
                "registered_by": registered_by or getpass.getuser(),
                "registered_at": datetime.now(UTC),
                "run_id": run_id,
            }
        ],
        properties={"run_id": run_id, "crawl_partition": crawl_partition},
    )


def list_drops(warehouse: Warehouse) -> list[dict[str, object]]:
    """The drop in force for each crawl partition, by key."""
    return read_rows(
        warehouse,
        "SELECT * FROM crawl_drops QUALIFY row_number() OVER (PARTITION BY crawl_partition ORDER BY registered_at DESC) = 1 "
        "ORDER BY crawl_partition",
        tables=["crawl_drops"],
    )


def registered_uri(warehouse: Warehouse, crawl_partition: str) -> str:
    """Folder of a crawl partition's drop. Raises UsageError where none is registered under that key."""
    drops = {str(row["crawl_partition"]): str(row["uri"]) for row in list_drops(warehouse)}
    if crawl_partition not in drops:
        raise UsageError(
            f"no crawl drop is registered as partition {crawl_partition!r} (registered: {', '.join(drops) or 'none'}). "
            "Register its folder first: veclip crawl add DIR --partition KEY, or job register_crawl_drop in the Dagster UI."
        )
    return drops[crawl_partition]
