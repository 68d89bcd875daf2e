"""A crawl partition's earlier contents: back to one of them, or out of use. Each table changes in one commit.

Files of earlier contents stay until they are vacuumed; the provenance table says which file held what. A run
that is killed in between is finished by running it again: both say what each table must hold, not what to change.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow.fs as pafs

from veclip_pipelines.crawl.drops import RegisteredDrop, list_drops, registered_drop, set_state
from veclip_pipelines.errors import UsageError, VeclipError
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, DUPLICATE_PAIRS, RAW_CRAWL, VECAP
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile
from veclip_pipelines.tables.provenance import RETIRED, Provenance, record
from veclip_pipelines.tables.query import content_version, read_rows
from veclip_pipelines.tables.warehouse import Warehouse

_CAPTIONS = (CONCEPT_CAPTIONS, VECAP)


@dataclass(frozen=True)
class PutBack:
    """A table's part of the partition that was put back, and the run that had made it."""

    asset: str
    of_run: str
    data_version: str
    rows_kept: int
    rows_rejected: int


def earlier_contents(warehouse: Warehouse, crawl_partition: str) -> list[dict[str, Any]]:
    """Materialisations of raw_crawl that gave this partition a new content, the newest first."""
    return read_rows(
        warehouse,
        "SELECT run_id, recorded_at, data_version, delta_version, rows_in, rows_kept, rows_rejected, launched_by FROM provenance "
        "WHERE asset = 'raw_crawl' AND partition = ? "
        "QUALIFY data_version IS DISTINCT FROM lag(data_version) OVER (ORDER BY recorded_at) ORDER BY recorded_at DESC",
        [crawl_partition],
        tables=["provenance"],
    )


def roll_back(warehouse: Warehouse, crawl_partition: str, to_run: str | None, *, run_id: str, by: str) -> list[PutBack]:
    """Puts a partition back to an earlier content of raw_crawl, and its captions to those that were made of that content.

    The drop is pinned: what its folder holds now is not taken in again before somebody registers it anew.

    Args:
        to_run: the run that made the content that is wanted; None: the content before the present one, or for a partition
            that is pinned already what it is pinned to: so a run that was killed half way is finished.

    Raises:
        UsageError: there is no such content, or its files were vacuumed.
        CommitConflictError: another run changed the partition meanwhile.
    """
    drop = registered_drop(warehouse, crawl_partition)
    target = _target(warehouse, drop, to_run)
    parts = [target, *_captions_of(warehouse, crawl_partition, target["data_version"])]
    held = [_files_of_run(warehouse, part) for part in parts]
    pinned = json.loads(target["inputs"])["drop"]
    if drop.state != "pinned" or drop.fingerprint != pinned:
        # Before any table: from now on no sensor and no materialisation brings the newer content back.
        set_state(warehouse, drop, "pinned", fingerprint=pinned, by=by, run_id=run_id)
    return [_put_back(warehouse, part, files, run_id, by) for part, files in zip(parts, held, strict=True)]


def retire(warehouse: Warehouse, crawl_partition: str, *, run_id: str, by: str) -> dict[str, int]:
    """Takes a partition out of use; the number of files that each table gave up. A retired one may be retired again.

    Raises:
        UsageError: no drop is registered under that key.
    """
    known = {drop.crawl_partition: drop for drop in list_drops(warehouse, retired=True)}
    if crawl_partition not in known:
        registered_drop(warehouse, crawl_partition)
    if known[crawl_partition].state != "retired":
        set_state(warehouse, known[crawl_partition], "retired", by=by, run_id=run_id)
    partition = {"crawl_partition": crawl_partition}
    given_up = {}
    for spec in (RAW_CRAWL, *_CAPTIONS, DUPLICATE_PAIRS):
        if expected := partition_files(warehouse.open(spec), partition):
            replace_partition(warehouse, spec, partition, [], expected=expected, properties={"run_id": run_id})
        given_up[spec.name] = len(expected)
    for spec in (RAW_CRAWL, *_CAPTIONS):
        _note_retirement(warehouse, spec, crawl_partition, run_id, by)
    return given_up


def _note_retirement(warehouse: Warehouse, spec: TableSpec, crawl_partition: str, run_id: str, by: str) -> None:
    """Without it a drop that is brought back unchanged would count as materialised already."""
    record(
        warehouse,
        Provenance(
            asset=spec.name,
            partition=crawl_partition,
            run_id=run_id,
            inputs={"drop": "", "engine": ""},
            data_version=content_version(warehouse, spec, {"crawl_partition": crawl_partition})[0],
            delta_version=None,
            files=(),
            rows_in=0,
            rows_kept=0,
            rows_rejected=0,
            seconds=0.0,
            code_version=RETIRED,
            launched_by=by,
        ),
    )


def _target(warehouse: Warehouse, drop: RegisteredDrop, to_run: str | None) -> dict[str, Any]:
    crawl_partition = drop.crawl_partition
    rows = _provenance(warehouse, RAW_CRAWL, crawl_partition)
    if to_run is not None:
        found = next((row for row in rows if row["run_id"].startswith(to_run)), None)
    elif drop.state == "pinned":
        found = next((row for row in rows if json.loads(row["inputs"])["drop"] == drop.fingerprint), None)
    else:
        present, _ = content_version(warehouse, RAW_CRAWL, {"crawl_partition": crawl_partition})
        found = next((row for row in rows if row["data_version"] != present), None)
    if found is None:
        wanted = f"of run {to_run!r}" if to_run else "before the present one"
        raise UsageError(
            f"crawl partition {crawl_partition!r} has no content {wanted}. veclip crawl history {crawl_partition} lists them."
        )
    return found


def _captions_of(warehouse: Warehouse, crawl_partition: str, raw_version: str) -> list[dict[str, Any]]:
    """For each engine the newest captions that were made of that content of raw_crawl."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for spec in _CAPTIONS:
        for row in _provenance(warehouse, spec, crawl_partition):
            inputs = json.loads(row["inputs"])
            if inputs.get(f"raw_crawl/{crawl_partition}") == raw_version:
                found.setdefault((spec.name, inputs["engine"]), row)
    return list(found.values())


def _provenance(warehouse: Warehouse, spec: TableSpec, crawl_partition: str) -> list[dict[str, Any]]:
    return read_rows(
        warehouse,
        "SELECT * FROM provenance WHERE asset = ? AND partition = ? AND code_version <> ? ORDER BY recorded_at DESC",
        [spec.name, crawl_partition, RETIRED],
        tables=["provenance"],
    )


def _put_back(warehouse: Warehouse, row: dict[str, Any], files: list[DataFile], run_id: str, by: str) -> PutBack:
    spec, partition = _where(row)
    expected = partition_files(warehouse.open(spec), partition)
    properties = {"run_id": run_id, "rolled_back_to": row["run_id"]}
    commit = replace_partition(warehouse, spec, partition, files, expected=expected, properties=properties)
    data_version, rows = content_version(warehouse, spec, partition)
    if data_version != row["data_version"]:
        raise VeclipError(
            f"table {spec.name}, partition {partition}: what was put back is not what run {row['run_id']} made "
            f"({data_version} instead of {row['data_version']}): its files were changed"
        )
    record(
        warehouse,
        Provenance(
            asset=spec.name,
            partition=row["partition"],
            run_id=run_id,
            inputs=json.loads(row["inputs"]),
            data_version=data_version,
            delta_version=commit.version,
            files=files,
            rows_in=row["rows_in"],
            rows_kept=row["rows_kept"],
            rows_rejected=row["rows_rejected"],
            seconds=0.0,
            code_version=row["code_version"],
            launched_by=by,
        ),
    )
    return PutBack(spec.name, row["run_id"], data_version, int(row["rows_kept"]), rows - int(row["rows_kept"]))


def _where(row: dict[str, Any]) -> tuple[TableSpec, dict[str, str]]:
    """The table and the part of it that a materialisation wrote."""
    spec = next(spec for spec in (RAW_CRAWL, *_CAPTIONS) if spec.name == row["asset"])
    partition = {"crawl_partition": str(row["partition"])}
    if spec is not RAW_CRAWL:
        partition["engine_id"] = json.loads(row["inputs"])["engine"]
    return spec, partition


def _files_of_run(warehouse: Warehouse, row: dict[str, Any]) -> list[DataFile]:
    """The data files that a materialisation's rows are in. Raises UsageError where they are not kept any more."""
    spec, partition = _where(row)
    files = [DataFile(path, size, rows, partition) for path, size, rows in json.loads(row["files"] or "[]")]
    gone = [
        file.path
        for file in files
        if warehouse.filesystem.get_file_info(warehouse.path(spec, file.path)).type != pafs.FileType.File
    ]
    if gone or not files:
        raise UsageError(
            f"table {spec.name}: the files that run {row['run_id']} made are not kept any more ({len(gone)} were vacuumed)"
        )
    return files
