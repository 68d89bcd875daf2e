"""What a partition must satisfy before it is committed: enough kept rows, and no sample twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.schemas.shared_columns import KEPT, REJECTED
from veclip_pipelines.tables.data_files import DataFile, find_file, read_file, write_file
from veclip_pipelines.tables.database import connection as open_connection
from veclip_pipelines.tables.warehouse import Warehouse

#: Reasons that may not occur on another try: passing faults, and those that depend on crawl.yaml.
TRANSIENT = (
    "timeout", "rate_limited", "server_error", "connection_error", "connection_reset", "dns_failure",
    "forbidden_address", "robots_disallowed", "opted_out", "too_many_bytes", "too_many_redirects",
)  # fmt: skip
_SHOWN = 8


class TooFewKeptError(VeclipError):
    """Too small a share of a partition's entries was kept."""


def check_success_share(warehouse: Warehouse, files: Sequence[DataFile], minimum: float) -> None:
    """Raises TooFewKeptError, with the causes counted, if a smaller share of rows than ``minimum`` was kept."""
    rows = _columns(warehouse, files, ["outcome", "reason"])
    counts = _ask(rows, "SELECT coalesce(reason, ''), count(*) AS n FROM rows GROUP BY 1 ORDER BY n DESC, 1")
    total = sum(count for _, count in counts)
    kept = sum(count for reason, count in counts if not reason)
    if total == 0 or kept >= minimum * total:
        return
    causes = ", ".join(f"{reason} {count}" for reason, count in counts[:_SHOWN] if reason)
    raise TooFewKeptError(
        f"only {kept} of {total} entries could be kept, less than the share of {minimum:g} that crawl.yaml asks for "
        f"(minimum_success_share). Causes: {causes}. The table is unchanged. Run it again to retry failures that may have passed "
        "(time-outs, resets), or lower the share if the drop is what it is."
    )


def remove_transient(warehouse: Warehouse, files: Sequence[DataFile]) -> None:
    """Removes uncommitted files with failures that may not occur on another try, so that the next run tries these entries again."""
    for file in files:
        reasons = set(_columns(warehouse, [file], ["reason"])["reason"].unique().to_pylist())
        if reasons & set(TRANSIENT):
            warehouse.filesystem.delete_file(warehouse.path(RAW_CRAWL, file.path))


def reject_repeats(warehouse: Warehouse, partition: Mapping[str, str], files: Sequence[DataFile]) -> list[DataFile]:
    """Rejects all but the first of the samples that a partition holds more than once, in the order of the files."""
    rows = _columns(warehouse, files, ["sample_id", "outcome"])
    repeats = _ask(
        rows,
        f"SELECT file, list(place ORDER BY place) FROM (SELECT * FROM rows WHERE outcome = '{KEPT}' "  # noqa: S608
        "QUALIFY row_number() OVER (PARTITION BY sample_id ORDER BY file, place) > 1) GROUP BY file",
    )
    marked = dict(repeats)
    return [
        _with_repeats(warehouse, partition, file, marked[number]) if number in marked else file
        for number, file in enumerate(files)
    ]


def _ask(rows: pa.Table, sql: str) -> list[tuple[Any, ...]]:
    """A query over one table, ``rows``."""
    with open_connection() as connection:
        connection.register("rows", rows)
        return connection.execute(sql).fetchall()  # type: ignore[no-any-return]


def _columns(warehouse: Warehouse, files: Sequence[DataFile], names: Sequence[str]) -> pa.Table:
    """Some columns of data files, with the file's number and the row's number within it."""
    tables = []
    for number, file in enumerate(files):
        table = read_file(warehouse, RAW_CRAWL, file, names)
        table = table.append_column("file", pa.array([number] * table.num_rows, pa.int32()))
        tables.append(table.append_column("place", pa.array(range(table.num_rows), pa.int32())))
    if not tables:
        schema = pa.schema([RAW_CRAWL.schema.field(name) for name in names])
        return pa.Table.from_pylist(
            [], schema.append(pa.field("file", pa.int32())).append(pa.field("place", pa.int32()))
        )
    return pa.concat_tables(tables)


def _with_repeats(
    warehouse: Warehouse, partition: Mapping[str, str], file: DataFile, repeats: Sequence[int]
) -> DataFile:
    stem = file.path.rpartition("/")[2].removesuffix(".parquet")
    name = f"{stem.partition('.')[0]}.{hashlib.sha256(f'{stem}{list(repeats)}'.encode()).hexdigest()[:8]}"
    if found := find_file(warehouse, RAW_CRAWL, partition, name):
        return found
    rows = read_file(warehouse, RAW_CRAWL, file)
    marked = set(repeats)
    mask = pa.array([row in marked for row in range(rows.num_rows)])
    for column, value in (
        ("outcome", REJECTED),
        ("reason", "repeat"),
        ("detail", "the same sample stands earlier in this partition"),
    ):
        at = rows.schema.get_field_index(column)
        rows = rows.set_column(at, RAW_CRAWL.schema.field(column), pc.if_else(mask, value, rows[column]))
    return write_file(warehouse, RAW_CRAWL, partition, name, rows)
