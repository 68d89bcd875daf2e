"""The only writer of Delta commits.

Tried on deltalake 1.6.6: two writers that both create a partition commit both, and the rows are there twice, unless
the commit may not be retried by the library (max_commit_retries=0). So each commit here is tried once against the
version that was looked at; on a conflict the table is opened again, the partition looked at again, and then decided.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from veclip_pipelines.errors import CommitConflictError
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.data_files import DataFile, table_of, write_file
from veclip_pipelines.tables.log import COMPACT_AT, compact, trim_log
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse, not_writable

_TRIES = 40


@dataclass(frozen=True)
class Commit:
    """What a commit did: the table's version that holds the rows, and whether this call wrote it."""

    version: int
    written: bool


def files_of(table: DeltaTable | None, partition: Mapping[str, str]) -> list[DataFile]:
    """The files that a partition holds at the table's version, by path."""
    if table is None:
        return []
    actions = pa.table(table.get_add_actions(flatten=True))
    for column, value in partition.items():
        actions = actions.filter(pc.equal(actions[f"partition.{column}"], value))
    columns = [name.removeprefix("partition.") for name in actions.column_names if name.startswith("partition.")]
    return sorted(
        (
            DataFile(
                row["path"], row["size_bytes"], row["num_records"], {name: row[f"partition.{name}"] for name in columns}
            )
            for row in actions.to_pylist()
        ),
        key=lambda file: file.path,
    )


def partition_files(table: DeltaTable | None, partition: Mapping[str, str]) -> frozenset[str]:
    """Paths, relative to the table, of the files that a partition holds now."""
    return frozenset(file.path for file in files_of(table, partition))


def replace_partition(
    warehouse: Warehouse,
    spec: TableSpec,
    partition: Mapping[str, str],
    files: Sequence[DataFile],
    *,
    expected: frozenset[str],
    properties: Mapping[str, str],
) -> Commit:
    """Replaces all rows of a partition by the rows of ``files``, in one commit.

    Args:
        expected: the files that the partition held when the work began (:func:`partition_files`).
        properties: kept in the commit: run id, versions.

    Raises:
        CommitConflictError: another run replaced this partition by other rows in between; nothing is written.
        VeclipError: the warehouse cannot be written.
    """
    wanted = frozenset(file.path for file in files)
    for attempt in range(_TRIES):
        table = warehouse.ensure(spec)
        present = partition_files(table, partition)
        if present == wanted:
            return Commit(table.version(), written=False)
        if present != expected:
            raise CommitConflictError(
                f"table {spec.name}, partition {dict(partition)}: another run replaced it while this one was at work. "
                "Its rows stand and none of this run's were written; run it again to see whether anything is left to do."
            )
        if _try_commit(warehouse, table, spec, files, properties, replacing=partition):
            return Commit(table.version() + 1, written=True)
        _wait(attempt)
    raise CommitConflictError(
        f"table {spec.name}: gave up after {_TRIES} commits that lost to other writers; run it again"
    )


def append_new(
    warehouse: Warehouse, spec: TableSpec, rows: Iterable[dict[str, object]], *, properties: Mapping[str, str]
) -> Commit:
    """Appends the rows whose key columns no row of the table has yet: so a rerun or a rival adds nothing twice."""
    pending = list(rows)
    for attempt in range(_TRIES):
        table = warehouse.ensure(spec)
        missing = [row for row in pending if not _has(warehouse, spec, row)]
        if not missing:
            return Commit(table.version(), written=False)
        files = []
        for group in _by_partition(spec, missing):
            partition = {column: str(group[0][column]) for column in spec.partition_by}
            plain = [{name: value for name, value in row.items() if name not in partition} for row in group]
            files.append(write_file(warehouse, spec, partition, uuid.uuid4().hex, table_of(spec, plain)))
        if _try_commit(warehouse, table, spec, files, properties, replacing=None):
            version = table.version() + 1
            if version % COMPACT_AT == 0 and (grown := warehouse.open(spec)) is not None:
                compact(grown)
            return Commit(version, written=True)
        for file in files:
            warehouse.filesystem.delete_file(warehouse.path(spec, file.path))
        _wait(attempt)
    raise CommitConflictError(
        f"table {spec.name}: gave up after {_TRIES} commits that lost to other writers; run it again"
    )


def _try_commit(
    warehouse: Warehouse,
    table: DeltaTable,
    spec: TableSpec,
    files: Sequence[DataFile],
    properties: Mapping[str, str],
    *,
    replacing: Mapping[str, str] | None,
) -> bool:
    """One commit against the version that was looked at; False where another writer was first.

    Args:
        replacing: the partition whose rows the files replace, empty for the whole table; None appends them.
    """
    try:
        table.create_write_transaction(
            [file.add_action() for file in files],
            mode="append" if replacing is None else "overwrite",
            schema=spec.schema,
            partition_by=list(spec.partition_by),
            partition_filters=[(name, "=", value) for name, value in (replacing or {}).items()] or None,
            commit_properties=CommitProperties(custom_metadata=dict(properties), max_commit_retries=0),
        )
    except CommitFailedError:
        return False
    except (DeltaError, OSError) as error:
        raise not_writable(warehouse.root, error) from error
    trim_log(warehouse, spec, table.version() + 1)
    return True


def _has(warehouse: Warehouse, spec: TableSpec, row: Mapping[str, object]) -> bool:
    where = " AND ".join(f"{key} = ?" for key in spec.keys)
    sql = f"SELECT 1 FROM {spec.name} WHERE {where} LIMIT 1"  # noqa: S608 - names from our own schema
    return bool(read_rows(warehouse, sql, [row[key] for key in spec.keys], tables=[spec.name]))


def _by_partition(spec: TableSpec, rows: list[dict[str, object]]) -> list[list[dict[str, object]]]:
    groups: dict[tuple[object, ...], list[dict[str, object]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in spec.partition_by), []).append(row)
    return list(groups.values())


def _wait(attempt: int) -> None:
    time.sleep(random.uniform(0.01, 0.05) * min(attempt + 1, 10))  # noqa: S311 - back-off, no secret
