"""img2dataset's other two outputs: ``files`` (one folder per shard) and ``parquet`` (the bytes in a column jpg, png or webp)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from veclip_pipelines.crawl.formats.base import DropFormat, Entry, Sources, join
from veclip_pipelines.crawl.formats.columns import captions_of, extra_of
from veclip_pipelines.crawl.formats.listing import PICTURE_ENDINGS, Listing
from veclip_pipelines.crawl.formats.webdataset import KNOWN_COLUMNS, read_sidecar, stated_count
from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.storage import is_folder, names_in, open_file, read_bytes

_BYTES = ("jpg", "png", "webp")
_STATS = re.compile(r"(?:.*/)?(\d{5,})_stats\.json")
_KNOWN = KNOWN_COLUMNS | set(_BYTES)
_READ_ROWS = 256


def detect_files(listing: Listing) -> Sources | None:
    """Recognised by stats beside folders of the same number."""
    return _detect(listing, lambda shard: any(path.startswith(f"{shard}/") for path in listing.paths))


def detect_parquet(listing: Listing) -> Sources | None:
    """Recognised by stats beside Parquet files with a column of pictures."""
    return _detect(listing, lambda shard: _has_bytes(listing.at(f"{shard}.parquet")))


def _detect(listing: Listing, is_shard: Callable[[str], bool]) -> Sources | None:
    stats = {path.removesuffix("_stats.json"): path for path in listing.paths if _STATS.fullmatch(path)}
    if not stats or listing.ending(".tar"):
        return None
    sidecars = {path.removesuffix(".parquet") for path in listing.ending(".parquet")}
    if not is_shard(min(stats)):
        return None
    if unfinished := sorted((sidecars | _folders(listing)) - set(stats)):
        raise UsageError(
            f"{listing.uri} is not a finished img2dataset drop: {len(unfinished)} shards have no _stats.json "
            f"({', '.join(unfinished[:3])}). img2dataset writes it when a shard is done: wait for it, or run it again."
        )
    entries = sum(stated_count(listing.at(path)) for path in stats.values())
    return Sources(tuple(sorted(stats)), entries)


def _folders(listing: Listing) -> set[str]:
    return {folder for path in listing.paths if (folder := path.rpartition("/")[0]) and folder.isdigit()}


def _has_bytes(uri: str) -> bool:
    try:
        with open_file(uri) as file:
            return bool(set(pq.read_schema(file).names) & set(_BYTES))
    except (FileNotFoundError, pa.ArrowException):
        return False


def read_files(drop_uri: str, shard: str) -> Iterator[Entry]:
    """The sidecar's rows, each with the loose file of its key, then loose pictures that the sidecar does not name."""
    folder = join(drop_uri, shard)
    names = set(names_in(folder)) if is_folder(folder) else set()
    pictures = {name.partition(".")[0]: name for name in sorted(names) if name.lower().endswith(PICTURE_ENDINGS)}
    sidecar = read_sidecar(f"{folder}.parquet")
    for key in dict.fromkeys([*sidecar, *pictures]):
        row: dict[str, Any] = dict(sidecar.get(key, {}))
        if f"{key}.txt" in names:
            row["caption"] = read_bytes(f"{folder}/{key}.txt").decode("utf-8", "replace")
        yield _entry(key, row, _loose(folder, pictures.get(key)))


def read_parquet(drop_uri: str, shard: str) -> Iterator[Entry]:
    """The rows of a Parquet shard, a few hundred in memory at a time."""
    with open_file(join(drop_uri, f"{shard}.parquet")) as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_READ_ROWS):
            for row in batch.to_pylist():
                yield _entry(str(row.get("key")), row, next((row[name] for name in _BYTES if row.get(name)), None))


def _entry(key: str, row: dict[str, Any], image: bytes | None) -> Entry:
    status = row.get("status") or "success"
    fault: tuple[str, str] | None = None
    if status != "success":
        fault, image = (str(status), str(row.get("error_message") or "")), None
    elif image is None:
        fault = ("missing_picture", "the drop has no picture of that key")
    text = row.get("caption") if isinstance(row.get("caption"), str) else row.get("text")
    return Entry(
        key,
        row.get("url"),
        text if isinstance(text, str) else "",
        image,
        None,
        fault,
        page_url=row.get("page_url"),
        captions=captions_of(row),
        extra=extra_of(row, _KNOWN),
    )


def _loose(folder: str, name: str | None) -> bytes | None:
    return None if name is None else read_bytes(f"{folder}/{name}")


IMG2DATASET_FILES = DropFormat("img2dataset-files", "packed", detect_files, read_files)
IMG2DATASET_PARQUET = DropFormat("img2dataset-parquet", "packed", detect_parquet, read_parquet)
