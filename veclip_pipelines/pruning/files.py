"""Files that nothing needs any more, or that were kept for as long as was stated: found first, removed when asked."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pyarrow.fs as pafs

from veclip_pipelines.audit.audit_files import orphan_tars
from veclip_pipelines.captioning.plan import FOLDER as PLANS
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.media.storage import remove
from veclip_pipelines.schemas.crawl_schemas import TABLES
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.provenance import RETIRED
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.standings import Standing, standings
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class Retention:
    """For how long things are kept.

    Attributes:
        runs_days: Dagster's record of a run, from its launch. The newest of each partition stays for ever.
        earlier_days: contents that others have replaced, from then on: what a crawl partition can be rolled back to.
        scratch_hours: what nothing names: a run that is at work may be about to.
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
    """All files that may go. What a training set pins is never among them, nor what a takedown holds until its own time."""
    moment = now or datetime.now(UTC)
    scratch = moment - timedelta(hours=retention.scratch_hours)
    held = _held(warehouse)
    found = [one for spec in TABLES.values() for one in _data_files(warehouse, spec, held, moment, retention)]
    found += _staging(warehouse.root, (".tmp",), scratch)
    found += _staging(f"{warehouse.root}/{PLANS}", ("",), scratch)
    found += [
        Prunable("tar", uri, _size(uri), "no row points into it")
        for uri in orphan_tars(warehouse, settings.shards, scratch.timestamp())
    ]
    found += _staging(settings.shards, (".tmp",), scratch, names=(".packing-",), folders=("lists",))
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
    """When a later content took the place of the one that a file was of, by path; of one that was never noted nothing is known."""
    rows = read_rows(
        warehouse,
        "SELECT files, lead(recorded_at) OVER (PARTITION BY partition, engine ORDER BY recorded_at) AS replaced, "
        "max(recorded_at) FILTER (code_version = $retired) OVER (PARTITION BY partition) AS retired FROM "
        "(SELECT *, json_extract_string(inputs, '$.engine') AS engine FROM provenance WHERE asset = $asset AND files IS NOT NULL)",
        {"asset": spec.name, "retired": RETIRED},
        tables=["provenance"],
    )
    found: dict[str, datetime] = {}
    for row in rows:
        since = row["replaced"] or row["retired"]
        for path, _, _ in json.loads(row["files"]) if since else ():
            found[path] = max(since, found.get(path, since))
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
    """Files under a place, older than a time, that end or begin like scratch, or lie in a folder for it."""
    filesystem, path = fsspec.core.url_to_fs(root)
    if not filesystem.exists(path):
        return
    for name, info in sorted(filesystem.find(path, detail=True).items()):
        *above, last = name.removeprefix(path).strip("/").split("/")
        if not (last.endswith(endings) or (names and last.startswith(names)) or set(folders) & set(above)):
            continue
        written = info.get("mtime") or info.get("LastModified") or info.get("created")
        stamp = written.timestamp() if isinstance(written, datetime) else float(written or 0)
        if stamp < before.timestamp():
            place = name if "://" not in root else str(filesystem.unstrip_protocol(name))
            yield Prunable("staging", place, int(info.get("size") or 0), "scratch of a run that was killed")


def _trainings(checkpoints: Path, scratch: datetime, unfinished: datetime) -> Iterator[Prunable]:
    """Checkpoints that were not written to the end, and states of trainings that ended, or that nobody has gone on with."""
    for folder in sorted(checkpoints.glob(".checkpoint-*")):
        if folder.stat().st_mtime < scratch.timestamp():
            yield Prunable("staging", str(folder), _size(str(folder)), "a checkpoint that was not written to the end")
    for folder in sorted(checkpoints.glob(".training-*")):
        changed = max((path.stat().st_mtime for path in folder.rglob("*")), default=folder.stat().st_mtime)
        ended = (checkpoints / folder.name.removeprefix(".training-") / "model.safetensors").is_file()
        if changed < (scratch if ended else unfinished).timestamp():
            why = "state of a training that has ended" if ended else "state of a training that nobody went on with"
            yield Prunable("staging", str(folder), _size(str(folder)), why)


def _size(uri: str) -> int:
    filesystem, path = fsspec.core.url_to_fs(uri)
    return int(filesystem.du(path)) if filesystem.exists(path) else 0
