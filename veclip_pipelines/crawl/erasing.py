"""Erasing pictures and their texts where they are stored: overwritten with zeros, so that no offset and no size changes.

A shard that is not ours to change, and a list in the drop that only names the picture, stay as they are and are reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from veclip_pipelines.crawl.formats.base import join
from veclip_pipelines.crawl.formats.img2dataset_loose import IMG2DATASET_FILES, IMG2DATASET_PARQUET
from veclip_pipelines.crawl.formats.registry import format_named
from veclip_pipelines.crawl.formats.tables import PICTURE_FOLDER
from veclip_pipelines.crawl.formats.tar_members import list_members
from veclip_pipelines.crawl.formats.webdataset import members_by_key
from veclip_pipelines.crawl.parquet_in_place import blank_rows
from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.shards import open_bytes
from veclip_pipelines.media.storage import is_file, is_url, names_in, size_of, zero_ranges

Range = tuple[int, int]
MayChange = Callable[[str], bool]


@dataclass(frozen=True)
class Place:
    """Where an entry is stored.

    Attributes:
        drop_uri, drop_format: of its drop, "" if none is registered.
        source_uri: the drop's file that it was read from.
        shard_uri: the tar with its picture, None if it had none; offset and length are within it.
    """

    image_sha256: str | None
    source_key: str
    source_uri: str
    drop_uri: str
    drop_format: str
    shard_uri: str | None
    offset: int
    length: int


@dataclass(frozen=True)
class Erased:
    """What was done to one file.

    Attributes:
        state: "removed", or "not_ours": it stays, for the reason in ``what``.
        count: number of pictures or texts.
    """

    step: str
    uri: str
    state: str
    what: str
    count: int


def erase(places: Iterable[Place], may_change: MayChange) -> Iterator[Erased]:
    """Erases the pictures in their tars, then whatever the drops hold of them."""
    wanted = list(places)
    with_picture = [place for place in wanted if place.shard_uri is not None]
    for uri, group in _by(with_picture, lambda place: str(place.shard_uri)):
        yield _guarded("shard", uri, len(group), may_change, partial(_erase_in_tar, uri, group))
    for uri, group in _by(wanted, lambda place: place.source_uri):
        yield from _erase_source(uri, group, may_change)


def _by(places: Sequence[Place], key: Callable[[Place], str]) -> Iterator[tuple[str, list[Place]]]:
    for uri, group in groupby(sorted(places, key=key), key):
        yield uri, list(group)


def _guarded(step: str, uri: str, count: int, may_change: MayChange, work: Callable[[], str]) -> Erased:
    if not may_change(uri):
        return Erased(step, uri, "not_ours", "it is not ours to change: its owner must erase them", count)
    try:
        return Erased(step, uri, "removed", work(), count)
    except FileNotFoundError:
        return Erased(step, uri, "removed", "it is not there any more", count)
    except (PermissionError, UsageError, NotImplementedError) as error:
        return Erased(step, uri, "not_ours", f"it cannot be changed from here: {error}", count)


def _erase_in_tar(uri: str, places: Sequence[Place]) -> str:
    """Writes zeros over the pictures whose bytes are still the same, and over all other members with the same key."""
    ranges: set[Range] = set()
    other = 0
    with open_bytes(uri) as shard:
        for place in places:
            data = shard.read_at(place.offset, place.length)
            if hashlib.sha256(data).hexdigest() == place.image_sha256:
                ranges.add((place.offset, place.length))
            elif any(data):
                other += 1
        if own := [place for place in places if place.source_uri == uri]:
            groups = members_by_key(list_members(shard)[0])
            # A key that has a different picture by now is a different entry.
            for place in own:
                members = groups.get(place.source_key, {}).values()
                if any((m.offset, m.size) == (place.offset, place.length) for m in members):
                    ranges |= {
                        (m.offset, m.size) for m in members if (m.offset, m.size) != (place.offset, place.length)
                    }
    zero_ranges(uri, sorted(ranges))
    return f"{other} places hold another picture by now and were left" if other else "overwritten by zeros"


def _erase_source(uri: str, places: Sequence[Place], may_change: MayChange) -> Iterator[Erased]:
    keys = [place.source_key for place in places]
    name = places[0].drop_format
    sidecar = f"{uri.removesuffix('.tar')}.parquet"
    if name == IMG2DATASET_FILES.name:
        yield _guarded("source", uri, len(keys), may_change, lambda: _erase_files(_of_keys(uri, keys)))
    elif name == PICTURE_FOLDER.name:
        drop = places[0].drop_uri
        yield _guarded("source", drop, len(keys), may_change, lambda: _erase_files(_listed(drop, uri, keys)))
    if uri.endswith(".tar") or name in (IMG2DATASET_FILES.name, IMG2DATASET_PARQUET.name):
        if is_file(sidecar):
            yield _guarded("source", sidecar, len(keys), may_change, lambda: blank_rows(sidecar, "key", keys))
    elif name:
        yield Erased("source", uri, "not_ours", "the drop's own list still has addresses and texts of them", len(keys))


def _of_keys(folder: str, keys: Collection[str]) -> list[str]:
    wanted = set(keys)
    return [f"{folder}/{name}" for name in names_in(folder) if name.partition(".")[0] in wanted]


def _listed(drop_uri: str, source_uri: str, keys: Collection[str]) -> list[str]:
    """Loose pictures that a table of the drop names for some keys; a path that leads out of the drop is not followed."""
    wanted = set(keys)
    path = source_uri.removeprefix(drop_uri.rstrip("/") + "/")
    entries = format_named(PICTURE_FOLDER.name).read(drop_uri, path)
    named = {str(entry.picture_path).replace("\\", "/") for entry in entries if entry.source_key in wanted}
    return [join(drop_uri, name) for name in sorted(named) if ".." not in name.split("/") and not name.startswith("/")]


def _erase_files(uris: Sequence[str]) -> str:
    erased = 0
    for uri in uris:
        if not is_file(uri) or (not is_url(uri) and Path(uri).is_symlink()):
            continue
        zero_ranges(uri, [(0, size_of(uri))])
        erased += 1
    return f"{erased} files overwritten by zeros"
