"""Files beside the tables: lists of entries and tars of our own, in VECLIP_SHARDS, a folder or a store that fsspec knows."""

from __future__ import annotations

import uuid
from pathlib import Path

import fsspec

from veclip_pipelines.errors import VeclipError


def is_there(uri: str) -> bool:
    filesystem, path = fsspec.core.url_to_fs(uri)
    return bool(filesystem.exists(path))


def put_bytes(uri: str, data: bytes) -> None:
    """Writes a file under its name only when it is whole.

    Raises:
        VeclipError: the place cannot be written.
    """
    try:
        if "://" in uri:
            filesystem, path = fsspec.core.url_to_fs(uri)
            filesystem.pipe_file(path, bytes(data))
            return
        target = Path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            scratch.write_bytes(data)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise VeclipError(
            f"cannot write {uri}: {error}. Free space or set VECLIP_SHARDS to a place that can be written, then run it again."
        ) from error


def remove(uri: str) -> None:
    """Removes a file or folder, if it is there."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)
