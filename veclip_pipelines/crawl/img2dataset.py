"""img2dataset's webdataset layout (img2dataset 1.47): ``00000.tar`` beside ``00000.parquet`` and ``00000_stats.json``.

Members are ``{key}.jpg|png|webp``, ``{key}.txt`` and ``{key}.json``. Entries that failed to download stand in the
Parquet sidecar only, with ``status`` and ``error_message``.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import fsspec
import pyarrow.parquet as pq

from veclip_pipelines.crawl.entries import Entry
from veclip_pipelines.shards import open_shard

_TEXTS = ("txt", "json")
Members = dict[str, dict[str, tuple[int, int]]]


def read_entries(shard_uri: str) -> Iterator[Entry]:
    """Every entry of a shard, in the sidecar's order and then those that only the tar has.

    Never raises for what a stranger put into the shard: a broken tar gives entries with a fault.
    """
    sidecar = _read_sidecar(shard_uri)
    with open_shard(shard_uri) as shard:
        members, broken = _list_members(shard)
        keys = list(dict.fromkeys([*sidecar, *members]))
        for key in keys:
            yield _entry(shard, key, sidecar.get(key), members.get(key, {}), broken)


def count_entries(shard_uri: str) -> int:
    """How many entries the drop's own record says the shard has: the check of rows in against rows out reads this."""
    with fsspec.open(stats_uri(shard_uri), "rt") as file:
        return int(json.load(file)["count"])


def stats_uri(shard_uri: str) -> str:
    return f"{shard_uri.removesuffix('.tar')}_stats.json"


def _entry(
    shard: BinaryIO, key: str, row: dict[str, Any] | None, members: dict[str, tuple[int, int]], broken: str
) -> Entry:
    status = (row or {}).get("status") or "success"
    meta = _meta(shard, members)
    url = _first(row, meta, "url")
    text = _text(shard, members)
    alt_text = text if text is not None else _first(row, meta, "caption") or ""
    pictures = [place for extension, place in members.items() if extension not in _TEXTS]
    fault: tuple[str, str] | None = None
    image = offset = None
    if status != "success":
        fault = (str(status), str((row or {}).get("error_message") or ""))
    elif not pictures:
        fault = ("truncated_shard", broken) if broken else ("missing_picture", "the shard has no picture of that key")
    else:
        offset, length = pictures[0]
        shard.seek(offset)
        image = shard.read(length)
    return Entry(key, url, alt_text, image, offset, fault, page_url=_first(row, meta, "page_url"))


def _list_members(shard: BinaryIO) -> tuple[Members, str]:
    """Place of each regular member by key and extension, and what is wrong with the tar ("" if nothing).

    Only headers are read. Links, devices and folders are passed over, and no name is ever used as a path.
    """
    members: Members = {}
    size = shard.seek(0, 2)
    shard.seek(0)
    try:
        with tarfile.open(fileobj=shard, mode="r:") as tar:
            for member in tar:
                if not member.isreg():
                    continue
                if member.offset_data + member.size > size:
                    return members, f"the tar ends inside member {member.name[:80]!r}"
                key, _, extension = member.name.rpartition("/")[2].partition(".")
                members.setdefault(key, {}).setdefault(extension.lower(), (member.offset_data, member.size))
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        return members, f"{type(error).__name__}: {error}"
    return members, ""


def _read_sidecar(shard_uri: str) -> dict[str, dict[str, Any]]:
    """The sidecar's rows by key; columns are found by name, and it may be missing."""
    try:
        with fsspec.open(f"{shard_uri.removesuffix('.tar')}.parquet", "rb") as file:
            table = pq.read_table(file)
    except FileNotFoundError:
        return {}
    wanted = ("key", "url", "caption", "status", "error_message", "page_url")
    columns = [name for name in wanted if name in table.column_names]
    return {str(row["key"]): row for row in table.select(columns).to_pylist() if row.get("key") is not None}


def _text(shard: BinaryIO, members: dict[str, tuple[int, int]]) -> str | None:
    if "txt" not in members:
        return None
    offset, length = members["txt"]
    shard.seek(offset)
    return shard.read(length).decode("utf-8", "replace")


def _meta(shard: BinaryIO, members: dict[str, tuple[int, int]]) -> dict[str, Any]:
    if "json" not in members:
        return {}
    offset, length = members["json"]
    shard.seek(offset)
    try:
        meta = json.loads(shard.read(length))
    except (ValueError, UnicodeDecodeError):
        return {}
    return meta if isinstance(meta, dict) else {}


def _first(row: dict[str, Any] | None, meta: dict[str, Any], name: str) -> str | None:
    for source in (row or {}, meta):
        if isinstance(value := source.get(name), str):
            return value
    return None
