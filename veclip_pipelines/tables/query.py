"""DuckDB over the warehouse: :func:`read_rows` asks one question, an :class:`Asker` several on one connection.

read_parquet over the files that a Delta version names was 12 times faster than DuckDB over a pyarrow dataset for one
sample among 4 million rows, and needs no DuckDB extension (the delta extension is downloaded at run time).

No view shows what a takedown removed, whichever files it reads: tombstones are looked up each time a view is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from veclip_pipelines.schemas.shared_columns import REJECTED
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.schemas.takedown_schemas import TOMBSTONES
from veclip_pipelines.stages import ALL, STAGES
from veclip_pipelines.stages import tables as all_tables
from veclip_pipelines.tables.database import connection as open_connection
from veclip_pipelines.tables.warehouse import WIDENED, Warehouse

if TYPE_CHECKING:
    import pyarrow.dataset as pads

#: For a column that no file of a table has yet.
_DUCKDB_TYPES = {
    "int64": "BIGINT",
    "int32": "INTEGER",
    "float": "FLOAT",
    "double": "DOUBLE",
    "timestamp[us, tz=UTC]": "TIMESTAMPTZ",
    "list<element: string>": "VARCHAR[]",
    "list<item: string>": "VARCHAR[]",
}
#: Stands for the partition of a stage without partitions.
_ALL = f"'{ALL}'"
#: SQL for the host of a URL, for rows and columns that have none of their own; to be formatted with the URL.
HOST_OF = "lower(regexp_extract({}, '^[a-zA-Z]+://(?:[^/@]*@)?([^/:?#]+)', 1))"
#: Reason code of the row that stays in raw_crawl for an entry that was taken down; the row holds nothing more than
#: that.
TAKEN_DOWN = "taken_down"
#: The content version of a partition without rows.
NO_ROWS = hashlib.md5(b"", usedforsecurity=False).hexdigest()


def connect(
    warehouse: Warehouse, tables: Iterable[str] | None = None, *, alone: bool = False
) -> duckdb.DuckDBPyConnection:
    """A connection with one view per table, and ``rejects`` over the stages if all tables are requested.

    Args:
        tables: names of the tables that are needed; all by default.
        alone: as :func:`veclip_pipelines.tables.database.connection` has it.
    """
    connection = open_connection(alone=alone)
    specs = all_tables()
    for name in specs if tables is None else tables:
        _create_view(connection, warehouse, specs[name])
    if tables is None:
        _create_rejects_view(connection)
    return connection


def read_rows(
    warehouse: Warehouse,
    sql: str,
    parameters: Sequence[object] | Mapping[str, object] = (),
    *,
    tables: Iterable[str] | None = None,
) -> list[dict[str, Any]]:
    """The rows of one query as dictionaries."""
    with connect(warehouse, tables) as connection:
        return Asker(connection)(sql, parameters)


@dataclass(frozen=True)
class Asker:
    """Asks one connection several questions. Parameters stand in a sequence or mapping, or by name."""

    connection: duckdb.DuckDBPyConnection

    def __call__(
        self, sql: str, parameters: Sequence[object] | Mapping[str, object] = (), /, **named: object
    ) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries."""
        cursor = self.connection.execute(sql, parameters or named)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def row(
        self, sql: str, parameters: Sequence[object] | Mapping[str, object] = (), /, **named: object
    ) -> tuple[Any, ...]:
        """The one row of a query that always has one, such as a count."""
        (found,) = self.connection.execute(sql, parameters or named).fetchall()
        return tuple(found)


def content_version(warehouse: Warehouse, spec: TableSpec, partition: Mapping[str, str]) -> tuple[str, int]:
    """A hash of the rows that a partition holds, and their number.

    Independent of row order and of how the rows are cut into files: it changes exactly when the content does. The
    rows' 128-bit hashes are combined by XOR, which is sound here because no two rows of a partition are equal.
    """
    where = " AND ".join(f"{column} = ?" for column in partition) or "true"
    with connect(warehouse, [spec.name]) as connection:
        sql = f"SELECT {_version_sql(spec)}, count(*) FROM {spec.name} WHERE {where}"  # noqa: S608
        version, count = Asker(connection).row(sql, list(partition.values()))
    return f"{version}", int(count)


def content_versions(
    connection: duckdb.DuckDBPyConnection, spec: TableSpec, crawl_partitions: Sequence[str] | None = None
) -> dict[tuple[str, ...], tuple[str, int]]:
    """Hash and number of rows of many partitions, as :func:`content_version` has them, by the values of their columns.

    Args:
        connection: has a view of the table.
        crawl_partitions: only these; all by default.
    """
    columns = "".join(f", {name}" for name in spec.partition_by)
    # With single values DuckDB skips files by their paths; with one list that is unnested, it would not.
    asked = ", ".join("?" for _ in crawl_partitions or ())
    where = "true" if crawl_partitions is None else f"crawl_partition IN ({asked})" if asked else "false"
    sql = f"SELECT {_version_sql(spec)}, count(*){columns} FROM {spec.name} WHERE {where} GROUP BY ALL"  # noqa: S608
    found = connection.execute(sql, list(crawl_partitions or ())).fetchall()
    return {tuple(partition): (f"{version}", int(count)) for version, count, *partition in found}


def _version_sql(spec: TableSpec) -> str:
    columns = ", ".join(f'"{name}"' for name in spec.schema.names)
    return f"md5(coalesce(bit_xor(md5_number(to_json(row({columns}))::VARCHAR))::VARCHAR, ''))"


def view_of_files(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Warehouse,
    spec: TableSpec,
    paths: Sequence[str],
    *,
    hide: bool = True,
) -> None:
    """Makes the view of a table over some of its data files, whether a commit still names them or not.

    Args:
        paths: relative to the table's folder.
        hide: whether what was taken down is hidden. Only the takedown itself must see it.
    """
    _create_view(connection, warehouse, spec, paths, hide=hide)


def _create_view(
    connection: duckdb.DuckDBPyConnection,
    warehouse: Warehouse,
    spec: TableSpec,
    paths: Sequence[str] | None = None,
    *,
    hide: bool = True,
) -> None:
    hidden = _hidden_sql(connection, warehouse, spec) if hide else ""
    table = warehouse.open(spec)
    if paths is None:
        paths = [file.removeprefix(f"{warehouse.uri(spec)}/") for file in table.file_uris()] if table else []
    uris = [f"{warehouse.uri(spec)}/{path}" for path in paths]
    if not uris:
        connection.register(spec.name, spec.schema.empty_table())
    elif not warehouse.is_local:
        # DuckDB reaches object stores through an extension that is downloaded at run time: go through Arrow there.
        connection.register(f"{spec.name}_files", _dataset(warehouse, spec, paths))
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {spec.name} AS SELECT t.* FROM {spec.name}_files t {hidden}")  # noqa: S608
    else:
        files = ", ".join("'" + uri.replace("'", "''") + "'" for uri in uris)
        hive = "hive_partitioning=true, hive_types_autocast=false" if spec.partition_by else "hive_partitioning=false"
        assert table is not None
        declared = {field.name for field in table.schema().fields}
        # Older files lack columns, or all files do before this version first writes to the table.
        widened = table.metadata().configuration.get(WIDENED) == "true" or not declared >= set(spec.schema.names)
        if widened:
            hive += ", union_by_name=true"
        present = {field.name: field.type for field in spec.schema}
        known = set(_columns_of(connection, files, hive)) if widened else set(present)
        columns = ", ".join(
            f't."{name}"' if name in known else f'NULL::{_DUCKDB_TYPES.get(str(type_), "VARCHAR")} AS "{name}"'
            for name, type_ in present.items()
        )
        connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {spec.name} AS SELECT {columns} FROM read_parquet([{files}], {hive}) t {hidden}"  # noqa: S608
        )


def _hidden_sql(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, spec: TableSpec) -> str:
    """What leaves out, of a table's rows ``t``, those with a tombstone; "" where there is none."""
    if not spec.hidden_by or not _load_tombstones(connection, warehouse):
        return ""
    # The row that records a takedown stays visible, so that rows in are still rows kept and rejects.
    stays = f" AND t.reason IS DISTINCT FROM '{TAKEN_DOWN}'" if "reason" in spec.schema.names else ""
    return " ".join(
        f"ANTI JOIN hidden_{column} ON hidden_{column}.value = t.{column}{stays}" for column in spec.hidden_by
    )


def _load_tombstones(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> bool:
    """Makes hidden_sample_id and hidden_image_sha256, once per connection; False if nothing was ever taken down."""
    if connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'hidden_image_sha256'").fetchall():
        return True
    if warehouse.open(TOMBSTONES) is None:
        return False
    _create_view(connection, warehouse, TOMBSTONES)
    for column in ("sample_id", "image_sha256"):
        connection.execute(
            f"CREATE TEMP TABLE hidden_{column} AS SELECT DISTINCT {column} AS value FROM tombstones WHERE {column} IS NOT NULL"  # noqa: S608
        )
    return True


def _dataset(warehouse: Warehouse, spec: TableSpec, paths: Sequence[str]) -> pads.Dataset:
    import pyarrow.dataset as pads  # imports pandas

    return pads.dataset(
        [warehouse.path(spec, path) for path in paths],
        schema=spec.schema,
        filesystem=warehouse.filesystem,
        format="parquet",
        partitioning=pads.partitioning(
            pa.schema([spec.schema.field(name) for name in spec.partition_by]), flavor="hive"
        ),
        partition_base_dir=warehouse.path(spec),
    )


def _columns_of(connection: duckdb.DuckDBPyConnection, files: str, options: str) -> list[str]:
    """Columns that at least one of the files has."""
    found = connection.execute(f"DESCRIBE SELECT * FROM read_parquet([{files}], {options})").fetchall()  # noqa: S608
    return [str(row[0]) for row in found]


def _create_rejects_view(connection: duckdb.DuckDBPyConnection) -> None:
    parts = [
        f"SELECT '{stage.name}' AS stage, {stage.keyed_by or _ALL} AS partition_key, {stage.rejects_by} AS row_key, reason, detail "  # noqa: S608
        f"FROM {stage.name} WHERE outcome = '{REJECTED}'"
        for stage in STAGES.values()
        if stage.rejects_by
    ]
    connection.execute("CREATE TEMP VIEW rejects AS " + " UNION ALL ".join(parts))
