"""Tars of samples: img2dataset's webdataset output (img2dataset 1.47), and plain webdataset tars without sidecars.

img2dataset: ``00000.tar`` with members ``{key}.jpg|png|webp``, ``{key}.txt``, ``{key}.json``, beside it ``00000.parquet`` and
``00000_stats.json``. Entries that failed to download are in the Parquet sidecar only. Plain: members with one key are one
sample, wherever they are in the tar (webdataset's own reader expects them side by side; a stranger's tar may not comply).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from veclip_pipelines.crawl.formats.base import DropFormat, Entry, Sources, join
from veclip_pipelines.crawl.formats.columns import CAPTION_COLUMNS, captions_of, extra_of
from veclip_pipelines.crawl.formats.listing import PICTURE_ENDINGS, Listing
from veclip_pipelines.crawl.formats.tar_members import Member, list_members
from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.shards import ShardBytes, open_bytes
from veclip_pipelines.media.storage import open_file, open_text

_TEXTS = ("txt", "json")
_TEXT_NAMES = ("caption", "text", "alt_text", "alt")
#: img2dataset's own columns, which say nothing that the row does not say already: not kept as extra.
KNOWN_COLUMNS = {
    *_TEXT_NAMES, "url", "page_url", "key", "status", "error_message", "width", "height", "original_width",
    "original_height", "exif", "sha256", *CAPTION_COLUMNS,
}  # fmt: skip
Places = dict[str, Member]


def detect_img2dataset(listing: Listing) -> Sources | None:
    """Recognised by the stats beside the tars. Raises UsageError if some shards have none: the drop is not finished."""
    tars = listing.ending(".tar")
    finished = [tar for tar in tars if stats_path(tar) in listing.paths]
    if not finished:
        return None
    if len(finished) < len(tars):
        missing = sorted(set(tars) - set(finished))
        raise UsageError(
            f"{listing.uri} is not a finished img2dataset drop: {len(missing)} of {len(tars)} shards have no _stats.json "
            f"({', '.join(missing[:3])}). img2dataset writes it when a shard is done: wait for it, or run it again."
        )
    entries = sum(stated_count(listing.at(stats_path(tar))) for tar in tars)
    return Sources(tuple(tars), entries)


def detect_plain(listing: Listing) -> Sources | None:
    tars = listing.ending(".tar")
    return Sources(tuple(tars), None) if tars else None


def stats_path(tar: str) -> str:
    return f"{tar.removesuffix('.tar')}_stats.json"


def stated_count(stats_uri: str) -> int:
    """Number of entries of a shard according to its own stats. Raises UsageError if the file is not what img2dataset writes."""
    try:
        with open_text(stats_uri) as file:
            return int(json.load(file)["count"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{stats_uri} does not state a count, as img2dataset's stats do: {error!r}") from error


def read_entries(drop_uri: str, path: str) -> Iterator[Entry]:
    """Every entry of a shard: in the sidecar's order, then those that only the tar has."""
    uri = join(drop_uri, path)
    sidecar = read_sidecar(f"{uri.removesuffix('.tar')}.parquet")
    with open_bytes(uri) as shard:
        members, broken = list_members(shard)
        groups = members_by_key(members)
        for key in dict.fromkeys([*sidecar, *groups]):
            yield _entry(shard, key, sidecar.get(key), groups.get(key, {}), broken)


def members_by_key(members: list[Member]) -> dict[str, Places]:
    """Members by key and extension. A key that occurs again with the same extension is a separate sample: ``key#2``."""
    groups: dict[str, Places] = {}
    seen: dict[str, int] = {}
    for member in members:
        folder, slash, name = member.name.removeprefix("./").rpartition("/")
        stem, _, ending = name.partition(".")
        key, ending = folder + slash + stem, ending.lower()
        count = 1
        if ending in groups.get(key, ()):
            count = seen[member.name] = seen.get(member.name, 1) + 1
        groups.setdefault(key if count == 1 else f"{key}#{count}", {})[ending] = member
    return groups


def _entry(shard: ShardBytes, key: str, row: Mapping[str, Any] | None, places: Places, broken: str) -> Entry:
    facts = row if row is not None else _meta(shard, places)
    status = str(facts.get("status") or "success") if row is not None else "success"
    text = _text(shard, places)
    if text is None:
        text = next((facts[name] for name in _TEXT_NAMES if isinstance(facts.get(name), str)), "")
    picture = _picture(places)
    fault: tuple[str, str] | None = None
    image = offset = None
    if status != "success":
        fault = (status, str(facts.get("error_message") or ""))
    elif picture is None:
        fault = ("truncated_shard", broken) if broken else ("missing_picture", "the shard has no picture of that key")
    else:
        offset = picture.offset
        image = shard.read_at(picture.offset, picture.size)
    return Entry(
        key,
        _string(facts, "url"),
        text,
        image,
        offset,
        fault,
        page_url=_string(facts, "page_url"),
        captions=captions_of(facts),
        extra=extra_of(facts, KNOWN_COLUMNS),
    )


def _picture(places: Places) -> Member | None:
    """The member that is the picture: by its extension, else whatever is not text."""
    others = [(ending, member) for ending, member in places.items() if ending not in _TEXTS]
    return next((m for ending, m in others if f".{ending}" in PICTURE_ENDINGS), others[0][1] if others else None)


def read_sidecar(uri: str) -> dict[str, dict[str, Any]]:
    """The sidecar's rows by key; columns are found by name, and it may be missing.

    Raises:
        UsageError: it exists but is not Parquet, or has no column ``key``.
    """
    try:
        with open_file(uri) as file:
            table = pq.read_table(file)
    except FileNotFoundError:
        return {}
    except pa.ArrowException as error:
        raise UsageError(f"{uri} cannot be read as Parquet: {error}") from error
    if "key" not in table.column_names:
        raise UsageError(
            f"{uri} has no column key, as img2dataset's sidecars have. Columns: {', '.join(table.column_names)}"
        )
    dull = {"width", "height", "original_width", "original_height", "exif", "sha256"}
    wanted = [name for name in table.column_names if name not in dull]
    return {str(row["key"]): row for row in table.select(wanted).to_pylist() if row.get("key") is not None}


def _text(shard: ShardBytes, places: Places) -> str | None:
    place = places.get("txt")
    if place is None:
        return None
    text = shard.read_at(place.offset, place.size)
    # A text that was taken down consists only of zeros.
    return text.decode("utf-8", "replace") if any(text) else ""


def _meta(shard: ShardBytes, places: Places) -> dict[str, Any]:
    place = places.get("json")
    if place is None:
        return {}
    try:
        meta = json.loads(shard.read_at(place.offset, place.size))
    except (ValueError, RecursionError):
        return {}
    return meta if isinstance(meta, dict) else {}


def _string(facts: Mapping[str, Any], name: str) -> str | None:
    value = facts.get(name)
    return value if isinstance(value, str) else None


IMG2DATASET_WEBDATASET = DropFormat("img2dataset-webdataset", "in_place", detect_img2dataset, read_entries)
WEBDATASET = DropFormat("webdataset", "in_place", detect_plain, read_entries)
