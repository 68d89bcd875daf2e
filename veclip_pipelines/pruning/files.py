"""Files that nothing needs any more, or whose stated time has passed: first found, then removed on request."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.fs as pafs

from veclip_pipelines.audit.file_checks import orphan_tars
from veclip_pipelines.captioning.plan import FOLDER as PLANS
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.media.storage import SCRATCH, files_under, is_there, remove, scratch_in, size_of
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.stages import tables
from veclip_pipelines.tables.provenance import materialisations
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.standings import Standing, standings
from veclip_pipelines.tables.warehouse import Warehouse

_KILLED = "scratch of a run that was killed"


@dataclass(frozen=True)
class Retention:
    """For how long things are kept.

    Attributes:
        runs_days: Dagster's record of a run, from its launch. The newest of each partition stays forever.
        earlier_days: contents that were replaced, counted from then: what a crawl partition can be rolled back to.
        scratch_hours: files that nothing names, as a run that is at work may be about to name them.
    """

    runs_days: float = 90.0
    earlier_days: float = 30.0
    scratch_hours: float = 24.0


@dataclass(frozen=True)
class Prunable:
    """One thing to remove.

    Attributes:
        kind: earlier: content that was replaced; orphan: data file that no table names; tar: one of ours that no row points into;
            staging: scratch of a run that was killed; run: Dagster's record of one.
        place: path or URI, or the run's id.
        size: bytes, where they are known.
    """

    kind: str
    place: str
    size: int
    why: str


def prunable_files(
    warehouse: Warehouse, settings: Settings, retention: Retention, now: datetime | None = None
) -> list[Prunable]:
    """All files that may be removed. What a training set pins is never among them, nor what a takedown keeps until its own time."""
    moment = now or datetime.now(UTC)
    scratch = moment - timedelta(hours=retention.scratch_hours)
    held = _held(warehouse)
    found = [one for spec in tables().values() for one in _data_files(warehouse, spec, held, moment, retention)]
    found += _staging(warehouse.root, (SCRATCH,), scratch)
    found += _staging(f"{warehouse.root}/{PLANS}", ("",), scratch)
    found += [
        Prunable("tar", uri, _size(uri), "no row points into it")
        for uri in orphan_tars(warehouse, settings.shards, scratch.timestamp())
    ]
    # Until release 0.1 a tar's scratch was called .packing-*.
    found += _staging(settings.shards, (SCRATCH,), scratch, names=(".packing-",), folders=("lists",))
    found += _unfinished((settings.checkpoints, settings.models, settings.benchmarks), scratch)
    found += _trainings(settings.checkpoints, scratch, moment - timedelta(days=retention.earlier_days))
    return found


def remove_files(found: Sequence[Prunable]) -> None:
    """Removes them; one that is gone already is no error."""
    for one in found:
        if one.kind != "run":
            remove(one.place)


def _data_files(
    warehouse: Warehouse, spec: TableSpec, held: Collection[str], moment: datetime, retention: Retention
) -> Iterator[Prunable]:
    replaced = _replaced(warehouse, spec)
    for file in standings(warehouse, spec):
        if not file.standings <= {Standing.ORPHAN, Standing.EARLIER} or f"{spec.name}/{file.path}" in held:
            continue
        info = warehouse.filesystem.get_file_info(warehouse.path(spec, file.path))
        if info.type != pafs.FileType.File:
            continue
        place, written = f"{warehouse.uri(spec)}/{file.path}", info.mtime or moment
        if Standing.ORPHAN in file.standings:
            if written < moment - timedelta(hours=retention.scratch_hours):
                yield Prunable("orphan", place, info.size, "no table names it")
            continue
        since = replaced.get(file.path) or written
        if since < moment - timedelta(days=retention.earlier_days):
            yield Prunable("earlier", place, info.size, f"replaced {since:%Y-%m-%d}")


def _replaced(warehouse: Warehouse, spec: TableSpec) -> dict[str, datetime]:
    """When a later content replaced the one that a file belonged to, by path; files that were never recorded are missing."""
    found: dict[str, datetime] = {}
    # The newest first: each content of a partition's engine replaced the one that follows in this order.
    replaced: dict[tuple[str, str], datetime] = {}
    retired: dict[str, datetime] = {}
    for one in materialisations(warehouse, assets=[spec.name], files=True):
        if one.is_retirement:
            retired.setdefault(one.partition, one.recorded_at)
            continue
        key = (one.partition, one.engine)
        since = replaced.get(key) or retired.get(one.partition)
        replaced[key] = one.recorded_at
        if since is not None:
            for file in one.files:
                found[file.path] = max(since, found.get(file.path, since))
    return found


def _held(warehouse: Warehouse) -> set[str]:
    """Earlier contents that a takedown removes itself, at the time that it stated."""
    rows = read_rows(warehouse, "SELECT place FROM erasures WHERE state = 'held'", tables=["erasures"])
    return {row["place"] for row in rows}


def _staging(
    root: str,
    endings: tuple[str, ...],
    before: datetime,
    names: tuple[str, ...] = (),
    folders: tuple[str, ...] = (),
) -> Iterator[Prunable]:
    """Files under a place, older than a time, with the prefix, suffix or folder of scratch files."""
    for file in files_under(root):
        *above, last = file.path.split("/")
        if not (last.endswith(endings) or (names and last.startswith(names)) or set(folders) & set(above)):
            continue
        if (file.changed or 0.0) < before.timestamp():
            yield Prunable("staging", file.uri, file.size, _KILLED)


def _unfinished(places: Sequence[Path], before: datetime) -> Iterator[Prunable]:
    """Models, checkpoints and benchmarks that were not written to the end."""
    # Until release 0.1 a checkpoint's scratch was called .checkpoint-*.
    found = [path for place in places for path in (*scratch_in(place), *sorted(place.glob(".checkpoint-*")))]
    for path in found:
        if path.stat().st_mtime < before.timestamp():
            yield Prunable("staging", str(path), _size(str(path)), _KILLED)


def _trainings(checkpoints: Path, scratch: datetime, unfinished: datetime) -> Iterator[Prunable]:
    """States of trainings that have ended or have been abandoned."""
    for folder in sorted(checkpoints.glob(".training-*")):
        changed = max((path.stat().st_mtime for path in folder.rglob("*")), default=folder.stat().st_mtime)
        ended = (checkpoints / folder.name.removeprefix(".training-") / "model.safetensors").is_file()
        if changed < (scratch if ended else unfinished).timestamp():
            why = "state of a training that has ended" if ended else "state of an abandoned training"
            yield Prunable("staging", str(folder), _size(str(folder)), why)


def _size(uri: str) -> int:
    return size_of(uri) if is_there(uri) else 0
