"""Taking rows out of the tables: each data file that has some is written anew without them, and what names it names the new one."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from veclip_pipelines.crawl.rows import STAYS, taken_down_row
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.mixing.training_set import rebuild_content
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, DUPLICATES, RAW_CRAWL, VECAP
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.schemas.training_schemas import SET_PINS, TRAINING_SETS
from veclip_pipelines.tables.commit import files_of, partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile, claim_file, table_of, write_file
from veclip_pipelines.tables.database import connection as open_connection
from veclip_pipelines.tables.query import TAKEN_DOWN, content_version, read_rows, view_of_files
from veclip_pipelines.tables.standings import FoundFile, Standing, standings
from veclip_pipelines.tables.warehouse import Warehouse

#: The tables that hold pictures' pointers and texts, in the order in which they are made from one another.
CONTENT = (RAW_CRAWL, CONCEPT_CAPTIONS, VECAP, DUPLICATES, TRAINING_SETS)
_ROWS = 16_384


@dataclass(frozen=True)
class Hidden:
    """What a takedown takes out: ids of samples and SHA-256 of pictures."""

    takedown_id: str
    sample_ids: pa.Array
    pictures: pa.Array

    @classmethod
    def of(cls, takedown_id: str, tombstones: Sequence[Mapping[str, Any]]) -> Hidden:
        samples = sorted({row["sample_id"] for row in tombstones})
        pictures = sorted({row["image_sha256"] for row in tombstones if row["image_sha256"]})
        return cls(takedown_id, pa.array(samples, pa.string()), pa.array(pictures, pa.string()))

    def mask(self, spec: TableSpec, rows: pa.RecordBatch) -> pa.BooleanArray:
        """Which rows of a batch are taken out; the row that says that one was is not."""
        values = {"sample_id": self.sample_ids, "image_sha256": self.pictures}
        found = pa.array([False] * rows.num_rows)
        for column in spec.hidden_by:
            if column in rows.schema.names:
                found = pc.or_(found, pc.is_in(rows.column(column), value_set=values[column]))
        if spec is RAW_CRAWL:
            found = pc.and_not(found, pc.fill_null(pc.equal(rows.column("reason"), TAKEN_DOWN), False))
        return found


@dataclass(frozen=True)
class Rewritten:
    """What was done about one data file.

    Attributes:
        path: relative to its table. new: the file in its place, None where nothing names it any more.
        rows: rows that were taken out.
    """

    spec: TableSpec
    file: FoundFile
    new: DataFile | None
    rows: int


def files_with(warehouse: Warehouse, spec: TableSpec, hidden: Hidden) -> list[tuple[FoundFile, int]]:
    """The data files of a table that hold rows to take out, and how many."""
    found = []
    known = {file.path: file for file in standings(warehouse, spec)}
    for path, rows in _counts(warehouse, spec, sorted(known), hidden):
        if rows:
            found.append((known[path], rows))
    return found


def _counts(warehouse: Warehouse, spec: TableSpec, paths: Sequence[str], hidden: Hidden) -> Iterator[tuple[str, int]]:
    """Rows to take out by file: one query where DuckDB reads the files itself, with their filters; else file by file."""
    if not paths:
        return
    with open_connection() as connection:
        connection.register("hidden_samples", pa.table({"value": hidden.sample_ids}))
        connection.register("hidden_pictures", pa.table({"value": hidden.pictures}))
        tables = {"sample_id": "hidden_samples", "image_sha256": "hidden_pictures"}
        where = " OR ".join(f"{column} IN (FROM {tables[column]})" for column in spec.hidden_by)
        if spec is RAW_CRAWL:
            where = f"({where}) AND reason IS DISTINCT FROM '{TAKEN_DOWN}'"
        if warehouse.is_local:
            files = [warehouse.path(spec, path) for path in paths]
            sql = (
                f"SELECT filename, count(*) FROM read_parquet(?, filename=true, union_by_name=true, hive_partitioning=false) "  # noqa: S608
                f"WHERE {where} GROUP BY 1 ORDER BY 1"
            )
            root = f"{warehouse.path(spec)}/"
            yield from ((name.removeprefix(root), rows) for name, rows in connection.execute(sql, [files]).fetchall())
            return
        for path in paths:
            view_of_files(connection, warehouse, spec, [path], hide=False)
            found = connection.execute(f"SELECT count(*) FROM {spec.name} WHERE {where}").fetchone()  # noqa: S608
            yield path, 0 if found is None else int(found[0])


def rewrite_table(
    warehouse: Warehouse,
    spec: TableSpec,
    hidden: Hidden,
    *,
    held: Collection[str],
    run_id: str,
    announce: Callable[[Mapping[str, int]], None],
) -> list[Rewritten]:
    """Writes each present or pinned file anew without the rows, and commits partition by partition.

    Files that nothing names are removed, as a killed run left them; those of earlier contents stay for now, hidden.

    Args:
        held: earlier contents that nothing names any more, and that stay for now, too.
        announce: told the rows that are about to be taken out, by place, before anything is changed.

    Raises:
        CommitConflictError: another run changes a partition at the same time; run it again.
    """
    rewritten = []
    names = dict(files_with(warehouse, spec, hidden))
    present = {file.path: file for file in files_of(warehouse.open(spec), {})}
    places: dict[str, int] = {}
    for found, rows in names.items():
        if found.standings & {Standing.CURRENT, Standing.PINNED}:
            place = f"{spec.name}/{found.path.rpartition('/')[0]}".rstrip("/")
            places[place] = places.get(place, 0) + rows
    announce(places)
    for found, rows in names.items():
        new = None
        if found.standings & {Standing.CURRENT, Standing.PINNED}:
            new = _without(warehouse, spec, found.path, hidden)
        elif Standing.ORPHAN in found.standings and found.path not in held:
            warehouse.filesystem.delete_file(warehouse.path(spec, found.path))
        rewritten.append(Rewritten(spec, found, new, rows))
    replacing = {one.file.path: one for one in rewritten if one.file.path in present}
    for values in sorted({tuple(sorted(present[path].partition.items())) for path in replacing}):
        partition = dict(values)
        before = [file for file in present.values() if dict(file.partition) == partition]
        files = [replacing[file.path].new if file.path in replacing else file for file in before]
        replace_partition(
            warehouse, spec, partition, [file for file in files if file is not None],
            expected=frozenset(file.path for file in before), properties={"run_id": run_id, "takedown": hidden.takedown_id},
        )  # fmt: skip
    return rewritten


def _without(warehouse: Warehouse, spec: TableSpec, path: str, hidden: Hidden) -> DataFile:
    """The file's rows without those that are taken out, as a new file in the same partition, in a stream."""
    folders, _, name = path.rpartition("/")
    partition = dict(part.split("=", 1) for part in folders.split("/") if "=" in part)
    stem = name.removesuffix(".parquet")
    # What the rows were made from stays the first part of the name: a rerun of the crawl takes the file for what it is.
    digest = hashlib.sha256(f"{stem}{hidden.takedown_id}".encode()).hexdigest()[:8]
    new = f"{stem.partition('.')[0]}.{digest}"
    source = pq.ParquetFile(warehouse.path(spec, path), filesystem=warehouse.filesystem)
    batches = _kept(spec, source, hidden)
    reader = pa.RecordBatchReader.from_batches(spec.file_schema, batches)
    return claim_file(warehouse, spec, partition, new, reader)[0]


def _kept(spec: TableSpec, source: pq.ParquetFile, hidden: Hidden) -> Iterator[pa.RecordBatch]:
    for batch in source.iter_batches(batch_size=_ROWS):
        mask = hidden.mask(spec, batch)
        rest = batch.filter(pc.invert(mask))
        yield from conformed(spec, pa.Table.from_batches([rest])).to_batches()
        if spec is RAW_CRAWL and pc.any(mask).as_py():
            gone = batch.filter(mask)
            gone = gone.select([name for name in STAYS if name in gone.schema.names])
            stubs = [taken_down_row(row, hidden.takedown_id) for row in gone.to_pylist()]
            yield from table_of(spec, stubs).to_batches()


def conformed(spec: TableSpec, rows: pa.Table) -> pa.Table:
    """Rows of an older file with the columns that a table has now."""
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.schema.names else pa.nulls(rows.num_rows, field.type)
        for field in spec.file_schema
    ]
    return pa.Table.from_arrays(columns, schema=spec.file_schema)


def rewrite_pins(
    warehouse: Warehouse, rewritten: Sequence[Rewritten], hidden: Hidden, *, run_id: str
) -> list[dict[str, Any]]:
    """Lets the pins of training sets name the new files, and notes what the sets are from now on; the rows that changed.

    Raises:
        CommitConflictError: sets are being made at the same time; run it again.
    """
    moved: dict[str, dict[str, str]] = {}
    for one in rewritten:
        if one.new is not None:
            moved.setdefault(one.spec.name, {})[one.file.path] = one.new.path
    expected = partition_files(warehouse.open(SET_PINS), {})
    rows = read_rows(warehouse, "SELECT * FROM set_pins ORDER BY recipe, set_version", tables=["set_pins"])
    changed = []
    for row in rows:
        pins = json.loads(row["files"])
        new = {
            name: {**pin, "files": [moved.get(name, {}).get(path, path) for path in pin["files"]]}
            for name, pin in pins.items()
        }
        if new == pins and not _of_set(row, rewritten):
            continue
        row["files"] = json.dumps(new)
        row["takedowns"] = sorted({*(row["takedowns"] or []), hidden.takedown_id})
        row["content_version"], _ = content_version(
            warehouse, TRAINING_SETS, {"recipe": row["recipe"], "set_version": row["set_version"]}
        )
        changed.append(row)
    if changed:
        _replace_pins(warehouse, rows, expected, run_id)
        for row in changed:
            row["rebuilt_version"] = _rebuilt(warehouse, row)
        _replace_pins(warehouse, rows, partition_files(warehouse.open(SET_PINS), {}), run_id)
    return changed


def _of_set(row: Mapping[str, Any], rewritten: Sequence[Rewritten]) -> bool:
    folder = f"recipe={row['recipe']}/set_version={row['set_version']}/"
    return any(one.spec is TRAINING_SETS and one.file.path.startswith(folder) for one in rewritten)


def _replace_pins(
    warehouse: Warehouse, rows: Sequence[Mapping[str, Any]], expected: frozenset[str], run_id: str
) -> None:
    table = table_of(SET_PINS, [dict(row) for row in rows])
    name = f"pins-{hashlib.sha256(str(rows).encode()).hexdigest()[:16]}"
    file = write_file(warehouse, SET_PINS, {}, name, table)
    replace_partition(warehouse, SET_PINS, {}, [file], expected=expected, properties={"run_id": run_id})


def _rebuilt(warehouse: Warehouse, row: Mapping[str, Any]) -> str | None:
    with tempfile.TemporaryDirectory(prefix="veclip-takedown-") as scratch:
        try:
            return rebuild_content(warehouse, row["recipe"], row["set_version"], Path(scratch))
        except VeclipError:
            return None  # its pinned files were gone before: the audit says so
