"""Searching files of any kind, and databases, for pictures and texts: tables value by value, tars member by member."""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import html
import re
import sqlite3
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.extras import OPTIONAL_PACKAGES, missing
from veclip_pipelines.media.pictures import PictureError, examine
from veclip_pipelines.media.storage import is_url, open_file
from veclip_pipelines.takedown.text_fingerprints import Wanted

#: Weights hold no text and no picture.
NOT_READ = (".safetensors", ".pt", ".npz")
_MAGICS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_DATA_URI = re.compile(rb"data:image/[a-z+.-]+;base64,([A-Za-z0-9+/=]+)")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})|\\([nrtbf\"/\\])")
#: Bytes read at once from a plain text file; an AltText that spans two reads is found because they overlap.
_CHUNK, _SHARED = 32 * 2**20, 64 * 2**10
#: Rows fetched at once from a database's table.
_ROWS = 1_000


@dataclass(frozen=True)
class Hit:
    """Something that a file holds.

    Attributes:
        kind: picture (by its bytes), looks (by its perceptual hash), text, or row.
        what: SHA-256, perceptual hash, fingerprint or id.
        where: member, table or column within the file, "" where it is the file itself.
        sha256: for looks: of the picture's bytes in this file.
    """

    kind: str
    what: str
    where: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Searched:
    """What is looked for.

    Attributes:
        pictures: SHA-256. looks: perceptual hashes, each with the number of bits in which another may differ.
        ids: for each id column, the ids that no row may have.
    """

    pictures: frozenset[str]
    looks: Mapping[int, int]
    texts: Wanted
    ids: Mapping[str, frozenset[str]]

    def file(self, uri: str, *, rows_of: str = "") -> Iterator[Hit]:
        """The hits in a file.

        Args:
            rows_of: name of the table whose data file this is: then only the ids of its rows are checked, as its texts
                belong to rows that may stay.

        Raises:
            OSError: it cannot be read.
        """
        if uri.endswith(NOT_READ):
            return
        with open_file(uri) as file:
            head = file.read(16)
            file.seek(0)
            if uri.endswith(".parquet"):
                yield from self._parquet(file, rows_of)
            elif uri.endswith(".arrow"):
                yield from self._table(pa.ipc.open_file(pa.py_buffer(file.read())).read_all())
            elif head.startswith(b"SQLite format 3\0") and not is_url(uri):
                yield from self._sqlite(uri)
            elif uri.endswith(".tar"):
                yield from self._tar(file)
            elif head.startswith(_MAGICS):
                yield from self.picture(file.read(), "")
            else:
                yield from self._stream(file, compressed=head.startswith(b"\x1f\x8b"))

    def picture(self, data: bytes, where: str) -> Iterator[Hit]:
        """A hit for a picture by its bytes, else by its looks."""
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in self.pictures:
            yield Hit("picture", sha256, where, sha256)
            return
        if not self.looks:
            return
        try:
            bits = int(examine(data).phash, 16)
        except PictureError:
            return
        near = min(self.looks, key=lambda other: (other ^ bits).bit_count())
        if (near ^ bits).bit_count() <= self.looks[near]:
            yield Hit("looks", f"{bits:016x}", where, sha256)

    def text(self, text: str, where: str, *, value: bool = False) -> Iterator[Hit]:
        """Hits for texts within a text, also as JSON and HTML escape them."""
        if not self.texts:
            return
        found = self.texts.of_value(text) if value else self.texts.within(text)
        if "\\" in text:
            found |= self.texts.within(_ESCAPED.sub(_unescaped, text))
        if "&" in text:
            found |= self.texts.within(html.unescape(text))
        for one in sorted(found):
            yield Hit("text", one, where)

    def _bytes(self, data: bytes, where: str) -> Iterator[Hit]:
        if data.startswith(_MAGICS):
            yield from self.picture(data, where)
            return
        for match in _DATA_URI.finditer(data):
            try:
                yield from self.picture(base64.b64decode(match.group(1)), f"{where} data URI".strip())
            except binascii.Error:
                continue
        yield from self.text(data.decode("utf-8", "ignore"), where)

    def _parquet(self, file: BinaryIO, rows_of: str) -> Iterator[Hit]:
        source = pq.ParquetFile(file)
        if rows_of:
            wanted = [name for name in source.schema_arrow.names if name in (*self.ids, "reason")]
            for batch in source.iter_batches(columns=wanted):
                yield from self._ids(pa.Table.from_batches([batch]))
            return
        for batch in source.iter_batches():
            yield from self._table(pa.Table.from_batches([batch]))

    def _ids(self, rows: pa.Table) -> Iterator[Hit]:
        reasons = rows["reason"].to_pylist() if "reason" in rows.column_names else [None] * rows.num_rows
        for name, ids in self.ids.items():
            if name in rows.column_names:
                values = zip(rows[name].to_pylist(), reasons, strict=True)
                for one in sorted({value for value, reason in values if value in ids and reason != "taken_down"}):
                    yield Hit("row", one, name)

    def _table(self, rows: pa.Table) -> Iterator[Hit]:
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            if _holds_values(column.type):
                for value in _leaves(column.to_pylist()):
                    if isinstance(value, bytes):
                        yield from self._bytes(value, name)
                    else:
                        yield from self.text(value, name, value=True)

    def _sqlite(self, path: str) -> Iterator[Hit]:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            connection.text_factory = bytes
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in names:
                table = name.decode().replace('"', '""')
                for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - a name of the file's own, quoted
                    yield from self._row(row, table)

    def database(self, url: str) -> Iterator[Hit]:
        """The hits in the tables of a database.

        Args:
            url: as SQLAlchemy has it; the tables are those of its default schema.

        Raises:
            VeclipError: it cannot be read.
        """
        import sqlalchemy

        try:
            # Without a pool, as there is just one connection.
            engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
            with engine.connect().execution_options(yield_per=_ROWS) as connection:
                for name in sqlalchemy.inspect(connection).get_table_names():
                    every = sqlalchemy.select(sqlalchemy.text("*")).select_from(sqlalchemy.table(name))
                    for row in connection.execute(every):
                        yield from self._row(row, name)
        except ImportError as error:
            if (driver := error.name or "") in OPTIONAL_PACKAGES:
                raise missing(driver) from error
            raise VeclipError(f"the database's driver is missing: {error}") from error
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise VeclipError(str(error)) from error

    def _row(self, row: Iterable[Any], table: str) -> Iterator[Hit]:
        for value in _leaves(list(row)):
            yield from self._bytes(_inflated(value) if isinstance(value, bytes) else value.encode(), table)

    def _tar(self, file: BinaryIO) -> Iterator[Hit]:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.isreg() else None
                    if content is not None and any(data := content.read()):
                        yield from self._bytes(data, member.name)
        except tarfile.TarError:
            file.seek(0)
            yield from self._stream(file, compressed=False)

    def _stream(self, file: BinaryIO, *, compressed: bool) -> Iterator[Hit]:
        before = b""
        seen: set[Hit] = set()
        with gzip.open(file) if compressed else nullcontext(file) as content:
            while chunk := content.read(_CHUNK):
                for hit in self._bytes(before + chunk, ""):
                    if hit not in seen:
                        seen.add(hit)
                        yield hit
                before = chunk[-_SHARED:]


def _holds_values(type_: pa.DataType) -> bool:
    if pa.types.is_nested(type_):
        return any(_holds_values(type_.field(number).type) for number in range(type_.num_fields))
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(is_kind(type_) for is_kind in kinds)


def _leaves(value: Any) -> Iterator[str | bytes]:
    if isinstance(value, str | bytes):
        yield value
    elif isinstance(value, memoryview):  # psycopg2 returns bytes as memoryview
        yield bytes(value)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match.group(1), 16)) if match.group(1) else " "


def _inflated(data: bytes) -> bytes:
    """What a database keeps compressed (Dagster does so with snapshots), decompressed."""
    if data[:1] != b"\x78":
        return data
    try:
        return zlib.decompress(data)
    except zlib.error:
        return data
