"""The checks of an audit that look at files: data files, pins, weights."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs as pafs

from veclip_pipelines.audit.audited import Audited, Finding
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.mixing.training_set import rebuild_content
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL, TABLES
from veclip_pipelines.schemas.training_schemas import TRAINING_SETS
from veclip_pipelines.tables.commit import files_of
from veclip_pipelines.tables.standings import Standing, connect_all, standings
from veclip_pipelines.tables.warehouse import Warehouse

#: A file that nothing names yet may be of a run that is at work.
_AT_WORK_SECONDS = 86_400.0


def check_files(about: Audited) -> Iterator[Finding]:
    """Each file that a table's version names is there, with the size that it had."""
    for spec in TABLES.values():
        for file in files_of(about.warehouse.open(spec), {}):
            about.look()
            info = about.warehouse.filesystem.get_file_info(about.warehouse.path(spec, file.path))
            if info.type != pafs.FileType.File:
                yield Finding("files", f"{spec.name}/{file.path}", "the table names it, and it is not there")
            elif info.size != file.size:
                yield Finding("files", f"{spec.name}/{file.path}", f"it has {info.size} bytes, and had {file.size}")


def check_orphans(about: Audited, shards: str | None) -> Iterator[Finding]:
    """No data file and no tar of ours that nothing names, but for those of runs that may be at work now."""
    before = time.time() - _AT_WORK_SECONDS
    for spec in TABLES.values():
        files = standings(about.warehouse, spec)
        named = {_stem(found.path) for found in files if Standing.ORPHAN not in found.standings}
        for found in files:
            about.look()
            if _stem(found.path) in named:
                continue  # a shard's first file, before its repeats were marked or rejects made good: it is replaced, not lost
            info = about.warehouse.filesystem.get_file_info(about.warehouse.path(spec, found.path))
            if Standing.ORPHAN in found.standings and (info.mtime is None or info.mtime.timestamp() < before):
                yield Finding("orphans", f"{spec.name}/{found.path}", "no table names it: veclip prune removes it")
    for uri in orphan_tars(about.warehouse, shards, before) if shards else ():
        yield Finding("orphans", uri, "no row points into it: veclip prune removes it")


def _stem(path: str) -> str:
    """A data file's name without what a rewriting added to it."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}"


def orphan_tars(warehouse: Warehouse, shards: str, before: float) -> list[str]:
    """Tars of ours, older than a time, that no row of raw_crawl points into, not one of an earlier content either."""
    filesystem, path = fsspec.core.url_to_fs(shards)
    found = filesystem.find(path, detail=True) if filesystem.exists(path) else {}
    tars = {
        (name if "://" not in shards else str(filesystem.unstrip_protocol(name))): info
        for name, info in found.items()
        if name.endswith(".tar") and float(info.get("mtime") or 0) < before
    }
    if not tars:
        return []
    with connect_all(warehouse, [RAW_CRAWL]) as connection:
        named = connection.execute("SELECT DISTINCT shard_uri FROM raw_crawl WHERE shard_uri IS NOT NULL").fetchall()
    return sorted(tars.keys() - {row[0] for row in named})


def check_pins(about: Audited, *, rebuild: bool) -> Iterator[Finding]:
    """Each set has pins, its pinned files are there, and from them it is made again with the same content."""
    pins = about.ask(
        "SELECT recipe, set_version, files, content_version, coalesce(rebuilt_version, content_version) AS rebuilt "
        "FROM set_pins ORDER BY ALL"
    )
    known = {(row["recipe"], row["set_version"]) for row in pins}
    for row in about.ask("SELECT DISTINCT recipe, set_version FROM training_sets ORDER BY ALL"):
        if (row["recipe"], row["set_version"]) not in known:
            yield Finding(
                "pins",
                f"{row['recipe']}@{row['set_version']}",
                "a training set without pins: nothing tells what it was made from",
            )
    for row in pins:
        about.look()
        where = f"{row['recipe']}@{row['set_version']}"
        missing = list(_missing(about, json.loads(row["files"])))
        for name in missing:
            yield Finding("pins", where, f"pinned file {name} is gone: the set cannot be made again")
        present, _ = about.contents.of(TRAINING_SETS, {"recipe": row["recipe"], "set_version": row["set_version"]})
        if present != row["content_version"]:
            yield Finding("pins", where, f"its rows have content {present}, and had {row['content_version']}")
        if rebuild and not missing:
            yield from _rebuilt(about, where, row)


def _missing(about: Audited, pinned: dict[str, Any]) -> Iterator[str]:
    for table, pin in pinned.items():
        for path in pin["files"]:
            if not about.has(TABLES[table], path):
                yield f"{table}/{path}"


def _rebuilt(about: Audited, where: str, row: dict[str, Any]) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(prefix="veclip-audit-") as scratch:
        try:
            content = rebuild_content(about.warehouse, row["recipe"], row["set_version"], Path(scratch))
        except VeclipError as error:
            yield Finding("pins", where, f"it cannot be made again: {error}")
            return
    if content != row["rebuilt"]:
        yield Finding("pins", where, f"made again it has content {content}, and its record names {row['rebuilt']}")


def check_checkpoints(about: Audited) -> Iterator[Finding]:
    """Each checkpoint's set is known, its weights have the hash that was noted, and its MLflow run notes the same."""
    rows = about.ask(
        "SELECT c.*, p.set_version IS NOT NULL AS has_set FROM checkpoints c LEFT JOIN set_pins p "
        "ON p.recipe = c.recipe AND p.set_version = c.set_version ORDER BY c.trained_at"
    )
    for row in rows:
        about.look()
        where = f"{row['recipe']}/{row['checkpoint_id']}"
        if not row["has_set"]:
            yield Finding("checkpoints", where, f"trained on set {row['set_version']}, which is not known")
        weights = Path(row["uri"]) / "model.safetensors"
        if not weights.is_file():
            yield Finding("checkpoints", where, f"{weights} is gone")
        else:
            with weights.open("rb") as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
            if found != row["weights_sha256"]:
                yield Finding(
                    "checkpoints", where, f"the weights have SHA-256 {found}, and had {row['weights_sha256']}"
                )
        if about.tracking is not None:
            yield from _tracked(about, where, row)


def _tracked(about: Audited, where: str, row: dict[str, Any]) -> Iterator[Finding]:
    from mlflow.exceptions import MlflowException

    assert about.tracking is not None
    try:
        run = about.tracking.client().get_run(row["mlflow_run_id"])
    except MlflowException as error:
        yield Finding("checkpoints", where, f"MLflow has no run {row['mlflow_run_id']}: {str(error).splitlines()[0]}")
        return
    noted = run.data.tags.get("weights_sha256")
    if noted != row["weights_sha256"]:
        yield Finding("checkpoints", where, f"MLflow notes weights {noted}, the table {row['weights_sha256']}")
