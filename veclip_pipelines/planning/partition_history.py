"""A crawl partition's earlier contents: rolling back to one of them, and retiring the partition. Each table changes in one commit.

Files of earlier contents stay until they are vacuumed; the provenance table records which file held what. A run
that is killed in between is finished by running it again: both state what each table must hold, not what to change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest

import pyarrow.fs as pafs

from veclip_pipelines.crawl.drops import RegisteredDrop, list_drops, registered_drop, set_state
from veclip_pipelines.errors import UsageError, VeclipError
from veclip_pipelines.schemas.crawl_schemas import DUPLICATE_PAIRS, RAW_CRAWL
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.stages import CRAWL_PARTITION, STAGES, caption_stages, stages_of
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.provenance import RETIRED, Provenance, materialisations, record
from veclip_pipelines.tables.query import content_version
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class PutBack:
    """A table's part of the partition that was restored, and the run that had made it."""

    asset: str
    of_run: str
    data_version: str
    rows_kept: int
    rows_rejected: int


def earlier_contents(warehouse: Warehouse, crawl_partition: str) -> list[Provenance]:
    """Materialisations of raw_crawl that gave this partition a new content, the newest first."""
    made = materialisations(warehouse, assets=[RAW_CRAWL.name], partitions=[crawl_partition])
    before = [one.data_version for one in made[1:]]
    return [one for one, last in zip_longest(made, before) if one.data_version != last]


def roll_back(warehouse: Warehouse, crawl_partition: str, to_run: str | None, *, run_id: str, by: str) -> list[PutBack]:
    """Puts a partition back to an earlier content of raw_crawl, and its captions to those that were made of that content.

    The drop is pinned: the present content of its folder is not taken in until somebody registers it again.

    Args:
        to_run: the run that made the wanted content; None: the content before the present one, or, for a partition
            that is already pinned, the one that it is pinned to, so that a run that was killed half way is finished.

    Raises:
        UsageError: there is no such content, or its files were vacuumed.
        CommitConflictError: another run changed the partition meanwhile.
    """
    drop = registered_drop(warehouse, crawl_partition)
    target = _target(warehouse, drop, to_run)
    parts = [target, *_captions_of(warehouse, crawl_partition, target.data_version)]
    for part in parts:
        _check_files(warehouse, part)
    pinned = target.inputs["drop"]
    if drop.state != "pinned" or drop.fingerprint != pinned:
        # Before any table, so that no sensor and no materialisation brings the newer content back.
        set_state(warehouse, drop, "pinned", fingerprint=pinned, by=by, run_id=run_id)
    return [_put_back(warehouse, part, run_id, by) for part in parts]


def retire(warehouse: Warehouse, crawl_partition: str, *, run_id: str, by: str) -> dict[str, int]:
    """Retires a partition; returns the number of files that each table gave up. A retired one may be retired again.

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
    stages = [stage.table for stage in stages_of(CRAWL_PARTITION)]
    for spec in (*stages, DUPLICATE_PAIRS):
        if expected := partition_files(warehouse.open(spec), partition):
            replace_partition(warehouse, spec, partition, [], expected=expected, properties={"run_id": run_id})
        given_up[spec.name] = len(expected)
    for spec in stages:
        _note_retirement(warehouse, spec, crawl_partition, run_id, by)
    return given_up


def _note_retirement(warehouse: Warehouse, spec: TableSpec, crawl_partition: str, run_id: str, by: str) -> None:
    """Without this row, a drop that is brought back unchanged would count as already materialised."""
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


def _target(warehouse: Warehouse, drop: RegisteredDrop, to_run: str | None) -> Provenance:
    crawl_partition = drop.crawl_partition
    rows = _provenance(warehouse, RAW_CRAWL, crawl_partition)
    if to_run is not None:
        found = next((row for row in rows if row.run_id.startswith(to_run)), None)
    elif drop.state == "pinned":
        found = next((row for row in rows if row.inputs["drop"] == drop.fingerprint), None)
    else:
        present, _ = content_version(warehouse, RAW_CRAWL, {"crawl_partition": crawl_partition})
        found = next((row for row in rows if row.data_version != present), None)
    if found is None:
        wanted = f"of run {to_run!r}" if to_run else "before the present one"
        raise UsageError(
            f"crawl partition {crawl_partition!r} has no content {wanted}. veclip crawl history {crawl_partition} lists them."
        )
    return found


def _captions_of(warehouse: Warehouse, crawl_partition: str, raw_version: str) -> list[Provenance]:
    """For each engine, the newest captions that were made from that content of raw_crawl."""
    found: dict[tuple[str, str], Provenance] = {}
    for stage in caption_stages():
        for one in _provenance(warehouse, stage.table, crawl_partition):
            if one.inputs.get(f"raw_crawl/{crawl_partition}") == raw_version:
                found.setdefault((stage.name, one.engine), one)
    return list(found.values())


def _provenance(warehouse: Warehouse, spec: TableSpec, crawl_partition: str) -> list[Provenance]:
    made = materialisations(warehouse, assets=[spec.name], partitions=[crawl_partition], files=True)
    return [one for one in made if not one.is_retirement]


def _put_back(warehouse: Warehouse, earlier: Provenance, run_id: str, by: str) -> PutBack:
    spec, partition = STAGES[earlier.asset].table, earlier.part or {}
    expected = partition_files(warehouse.open(spec), partition)
    properties = {"run_id": run_id, "rolled_back_to": earlier.run_id}
    commit = replace_partition(warehouse, spec, partition, earlier.files, expected=expected, properties=properties)
    data_version, rows = content_version(warehouse, spec, partition)
    if data_version != earlier.data_version:
        raise VeclipError(
            f"table {spec.name}, partition {partition}: what was put back is not what run {earlier.run_id} made "
            f"({data_version} instead of {earlier.data_version}): its files were changed"
        )
    record(
        warehouse,
        replace(earlier, run_id=run_id, delta_version=commit.version, seconds=0.0, launched_by=by, guards=None),
    )
    return PutBack(spec.name, earlier.run_id, data_version, earlier.rows_kept, rows - earlier.rows_kept)


def _check_files(warehouse: Warehouse, earlier: Provenance) -> None:
    """Raises UsageError if the data files with a materialisation's rows no longer exist."""
    spec = STAGES[earlier.asset].table
    gone = [
        file.path
        for file in earlier.files
        if warehouse.filesystem.get_file_info(warehouse.path(spec, file.path)).type != pafs.FileType.File
    ]
    if gone or not earlier.files:
        raise UsageError(
            f"table {spec.name}: the files that run {earlier.run_id} made no longer exist ({len(gone)} were vacuumed)"
        )
