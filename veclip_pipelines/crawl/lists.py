"""Lists of entries: a drop's tables, JSON or archives cut into Parquet files of a few thousand entries each.

A JSON object of 30 million pairs needs no more memory than a small one, and many workers can fetch it. The lists are scratch:
a run after a crash finds them again, and they are removed when the partition is committed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from veclip_pipelines.crawl.formats.base import Entry, join
from veclip_pipelines.crawl.formats.columns import extra_json
from veclip_pipelines.crawl.formats.registry import format_named
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.media.storage import is_there, open_file, open_text, put_bytes
from veclip_pipelines.media.texts import storable

_SCHEMA = pa.schema(
    [
        pa.field("source_key", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("page_url", pa.string()),
        pa.field("picture_path", pa.string()),
        pa.field("alt_text_raw", pa.string(), nullable=False),
        pa.field("captions", pa.string()),
        pa.field("extra", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
_CHUNK = 1_000


@dataclass(frozen=True)
class ListTask:
    """One source of a drop, to be cut into lists.

    Attributes:
        base: where its lists go; ``-000000.parquet`` and so on is appended.
    """

    drop_uri: str
    format: str
    path: str
    base: str
    entries_per_list: int


@dataclass(frozen=True)
class EntryList:
    """One list: where it is, the source it was cut from, its number within that source, its number of entries."""

    uri: str
    source_uri: str
    number: int
    entries: int


def listed_before(task: ListTask) -> list[EntryList] | None:
    """What an earlier task cut the source into, by its record; the lists themselves may be gone by now. None: not cut yet."""
    record = f"{task.base}.json"
    if not is_there(record):
        return None
    with open_text(record) as file:
        counts = json.load(file)["entries"]
    source_uri = join(task.drop_uri, task.path)
    return [EntryList(f"{task.base}-{number:06d}.parquet", source_uri, number, n) for number, n in enumerate(counts)]


def list_source(task: ListTask) -> list[EntryList]:
    """Cuts one source into lists, unless an earlier task did and they still exist. Runs on a worker."""
    found = listed_before(task)
    if found is not None and all(is_there(item.uri) for item in found):
        return found
    counts = [
        _write(f"{task.base}-{number:06d}.parquet", part)
        for number, part in enumerate(_parts(_entries(task), task.entries_per_list))
    ]
    # Written last, so that all it names exists and is whole.
    _put(f"{task.base}.json", json.dumps({"entries": counts}).encode())
    found = listed_before(task)
    assert found is not None
    return found


def read_list(uri: str) -> Iterator[Entry]:
    """The entries of a list, in their order."""
    with open_file(uri) as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_CHUNK):
            yield from (_entry(row) for row in batch.to_pylist())


def _entries(task: ListTask) -> Iterator[Entry]:
    return format_named(task.format).read(task.drop_uri, task.path)


def _parts(entries: Iterator[Entry], size: int) -> Iterator[list[pa.RecordBatch]]:
    """Batches of each list. Entries are turned into Arrow as they are read, so a list takes no more memory than its texts."""
    batches: list[pa.RecordBatch] = []
    chunk: list[dict[str, object]] = []
    count = 0
    for entry in entries:
        chunk.append(_row(entry))
        count += 1
        if len(chunk) == _CHUNK or count == size:
            batches.append(pa.RecordBatch.from_pylist(chunk, schema=_SCHEMA))
            chunk = []
        if count == size:
            yield batches
            batches, count = [], 0
    if chunk:
        batches.append(pa.RecordBatch.from_pylist(chunk, schema=_SCHEMA))
    if batches:
        yield batches


def _write(uri: str, batches: list[pa.RecordBatch]) -> int:
    table = pa.Table.from_batches(batches, schema=_SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    _put(uri, sink.getvalue())
    return int(table.num_rows)


def _put(uri: str, data: bytes) -> None:
    try:
        put_bytes(uri, data)
    except OSError as error:
        raise VeclipError(
            f"cannot write {uri}: {error}. Free space or set VECLIP_SHARDS to a place that can be written, then run it again."
        ) from error


def _row(entry: Entry) -> dict[str, object]:
    fault = entry.fault or (None, None)
    row = {
        "source_key": entry.source_key,
        "url": entry.url,
        "page_url": entry.page_url,
        "picture_path": entry.picture_path,
        "alt_text_raw": entry.alt_text_raw,
        "captions": extra_json(entry.captions),
        "extra": extra_json(entry.extra),
        "reason": fault[0],
        "detail": fault[1],
    }
    return {name: storable(value) for name, value in row.items()}


def _entry(row: dict[str, str | None]) -> Entry:
    return Entry(
        source_key=row["source_key"] or "",
        url=row["url"],
        alt_text_raw=row["alt_text_raw"] or "",
        fault=None if row["reason"] is None else (row["reason"], row["detail"] or ""),
        page_url=row["page_url"],
        picture_path=row["picture_path"],
        captions=json.loads(row["captions"] or "{}"),
        extra=json.loads(row["extra"] or "{}"),
    )
