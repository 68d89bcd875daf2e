"""A stranger's tables: CSV, TSV, JSON Lines and Parquet, with URLs (DataComp, LAION, COYO, …) or the names of loose pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from veclip_pipelines.crawl.formats.base import DropFormat, Entry, Sources, join
from veclip_pipelines.crawl.formats.columns import Columns
from veclip_pipelines.crawl.formats.listing import PICTURE_ENDINGS, Listing
from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.storage import open_file, open_text

_TEXT_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".ndjson.gz")
TABLES = (".parquet", *_TEXT_TABLES)
_READ_ROWS = 1_000
#: No real table has a line or field longer than this: reading stops there with an error instead of filling the memory.
_MAX_FIELD = 16 * 2**20
#: A data set is recognised by columns that only it has; the label is for people.
_LABELS = {
    "datacomp": {"uid", "clip_b32_similarity_score"},
    "recap-datacomp": {"re_caption", "org_caption"},
    "capsfusion": {"capsfusion", "laion_2b"},
    "laion-coco": {"top_caption", "all_captions"},
    "laion": {"similarity", "license"},
    "coyo": {"clip_similarity_vitb32", "url"},
}
Row = Mapping[str, Any] | None


def detect_urls(listing: Listing) -> Sources | None:
    """Tables, without pictures."""
    tables = listing.ending(*TABLES)
    if not tables or listing.ending(*PICTURE_ENDINGS):
        return None
    names = [_names(listing.at(path)) for path in tables]
    for path, columns in zip(tables, names, strict=True):
        Columns.of(columns, listing.at(path), need="url")
    return Sources(tuple(tables), _stated_rows(listing, tables), _label(names[0]))


def detect_pictures(listing: Listing) -> Sources | None:
    """Loose pictures and tables that name them."""
    if not listing.ending(*PICTURE_ENDINGS):
        return None
    tables = listing.ending(*TABLES)
    if not tables:
        raise UsageError(
            f"{listing.uri} has pictures and no table of their texts: a CSV, TSV, JSONL or Parquet file with columns such as "
            "file_name and text was looked for."
        )
    for path in tables:
        Columns.of(_names(listing.at(path)), listing.at(path), need="path")
    return Sources(tuple(tables), _stated_rows(listing, tables))


def read_urls(drop_uri: str, path: str) -> Iterator[Entry]:
    return _read(drop_uri, path, need="url")


def read_pictures(drop_uri: str, path: str) -> Iterator[Entry]:
    return _read(drop_uri, path, need="path")


def _read(drop_uri: str, path: str, *, need: str) -> Iterator[Entry]:
    uri = join(drop_uri, path)
    columns = Columns.of(_names(uri), uri, need=need)
    for number, (row, wrong) in enumerate(_rows(uri)):
        if row is None:
            yield Entry(f"{number:09d}", None, "", fault=("malformed_row", wrong))
        else:
            yield columns.entry(row, number)


def _stated_rows(listing: Listing, tables: list[str]) -> int | None:
    """Number of rows according to the Parquet files' own footers; None if one of the tables is text."""
    if not all(path.endswith(".parquet") for path in tables):
        return None
    count = 0
    for path in tables:
        with _parquet(listing.at(path)) as file:
            count += int(file.metadata.num_rows)
    return count


def _label(names: list[str]) -> str:
    present = {name.lower() for name in names}
    return next((label for label, telling in _LABELS.items() if telling <= present), "")


def _names(uri: str) -> list[str]:
    """Names of a table's columns. Raises UsageError if none can be read."""
    if uri.endswith(".parquet"):
        with _parquet(uri) as file:
            return list(file.schema_arrow.names)
    if _is_json(uri):
        first = next((row for row, _ in _json_rows(uri) if row is not None), None)
        if first is None:
            raise UsageError(f"{uri} has no line that is a JSON object")
        return list(first)
    with _open_text(uri) as file:
        header = next(_csv_reader(uri, file), None)
    if not header:
        raise UsageError(f"{uri} is empty: a first line with the names of the columns was looked for")
    return [name.strip() for name in header]


def _rows(uri: str) -> Iterator[tuple[Row, str]]:
    """Each row as a mapping, or None with what is wrong with it."""
    if uri.endswith(".parquet"):
        with _parquet(uri) as file:
            for batch in file.iter_batches(batch_size=_READ_ROWS):
                yield from ((row, "") for row in batch.to_pylist())
    elif _is_json(uri):
        yield from _json_rows(uri)
    else:
        yield from _csv_rows(uri)


@contextmanager
def _parquet(uri: str) -> Iterator[pq.ParquetFile]:
    with ExitStack() as stack:
        try:
            file = pq.ParquetFile(stack.enter_context(open_file(uri)))
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"{uri} cannot be read as Parquet: {error}") from error
        yield file


def _is_json(uri: str) -> bool:
    return uri.removesuffix(".gz").endswith((".jsonl", ".ndjson"))


def _open_text(uri: str) -> AbstractContextManager[TextIO]:
    return open_text(uri, compression="infer", encoding="utf-8-sig", errors="replace", newline="")


def _csv_reader(uri: str, file: TextIO) -> Iterator[list[str]]:
    csv.field_size_limit(_MAX_FIELD)
    # In a TSV a quotation mark is a character like any other: AltTexts contain unpaired ones.
    if uri.removesuffix(".gz").endswith(".tsv"):
        return csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    return csv.reader(file)


def _csv_rows(uri: str) -> Iterator[tuple[Row, str]]:
    with _open_text(uri) as file:
        reader = _csv_reader(uri, file)
        names = [name.strip() for name in next(reader, [])]
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield None, str(error)
                continue
            if not row:
                continue
            if len(row) != len(names):
                yield None, f"{len(row)} fields, where the first line names {len(names)} columns"
            else:
                yield dict(zip(names, row, strict=True)), ""


def _json_rows(uri: str) -> Iterator[tuple[Row, str]]:
    with _open_text(uri) as file:
        while line := file.readline(_MAX_FIELD):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield None, f"no JSON: {error}"
                continue
            yield (row, "") if isinstance(row, dict) else (None, "the line is no JSON object")


URL_TABLE = DropFormat("url-table", "listed", detect_urls, read_urls)
PICTURE_FOLDER = DropFormat("picture-folder", "listed", detect_pictures, read_pictures)
