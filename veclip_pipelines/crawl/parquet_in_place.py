"""Blanks rows of a stranger's Parquet file without changing its size: the space saved is padded before the footer.

Offsets in a Parquet file count from its beginning and its footer is found from its end, so bytes in between do no harm.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.storage import read_bytes, replace_content

#: The value in a column of states for a row that was taken down.
STATUS = "taken_down"
_CODECS = (("zstd", 19), ("brotli", 11), ("gzip", 9))


def blank_rows(uri: str, key: str, keys: Collection[str]) -> str:
    """Sets all but the key of some rows to null, and a column ``status`` to taken_down; says what was done.

    Raises:
        UsageError: the file is not Parquet, or one of its columns cannot be null.
    """
    before = read_bytes(uri)
    try:
        source = pq.ParquetFile(io.BytesIO(before))
        table = source.read()
    except pa.ArrowException as error:
        raise UsageError(f"{uri} cannot be read as Parquet: {error}") from error
    if key not in table.column_names:
        raise UsageError(f"{uri} has no column {key}")
    chosen = pc.is_in(pc.cast(table[key], pa.string()), value_set=pa.array(sorted(keys), pa.string()))
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        if field.name == key:
            columns.append(column)
            continue
        is_status = field.name == "status" and pa.types.is_string(field.type)
        if not (field.nullable or is_status):
            raise UsageError(f"{uri}: column {field.name} cannot be null")
        nothing = pa.scalar(STATUS if is_status else None, field.type)
        columns.append(pc.if_else(chosen, nothing, column) if not pa.types.is_null(field.type) else column)
    blanked = pa.Table.from_arrays(columns, schema=table.schema)
    if blanked.equals(table):
        return "its rows were blank already"
    rows = max(1, source.metadata.row_group(0).num_rows)
    smallest = min((_written(blanked, codec, level, rows) for codec, level in _CODECS), key=len)
    replace_content(uri, padded(smallest, len(before)))
    return "its rows are blank" if len(smallest) <= len(before) else "its rows are blank; the file grew"


def _written(table: pa.Table, codec: str, level: int, rows: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=codec, compression_level=level, row_group_size=rows)
    return buffer.getvalue()


def padded(data: bytes, size: int) -> bytes:
    """The Parquet file ``data`` padded to ``size`` bytes with zeros before its footer; unchanged if it is larger."""
    (footer,) = struct.unpack("<I", data[-8:-4])
    at = len(data) - 8 - footer
    return data[:at] + bytes(max(0, size - len(data))) + data[at:]
