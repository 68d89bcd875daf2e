"""Overwriting parts of a file in place: neither its size nor its time of change tells of it, so nothing is read anew for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import fsspec


def zero_ranges(uri: str, ranges: Sequence[tuple[int, int]]) -> None:
    """Overwrites ranges (offset, length) by zeros; on a store the object is swapped for one of the same size.

    Raises:
        OSError: the file is not there or cannot be changed.
    """
    if not ranges:
        return
    if "://" in uri:
        filesystem, path = fsspec.core.url_to_fs(uri)
        data = bytearray(filesystem.cat_file(path))
        for offset, length in ranges:
            data[offset : offset + length] = bytes(len(data[offset : offset + length]))
        filesystem.pipe_file(path, bytes(data))
        return
    before = Path(uri).stat()
    with Path(uri).open("r+b") as file:
        for offset, length in ranges:
            file.seek(offset)
            file.write(bytes(max(0, min(length, before.st_size - offset))))
        file.flush()
        os.fsync(file.fileno())
    os.utime(uri, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_content(uri: str, data: bytes) -> None:
    """Puts other content in a file's place, whole or not at all, and keeps its time of change."""
    if "://" in uri:
        filesystem, path = fsspec.core.url_to_fs(uri)
        filesystem.pipe_file(path, data)
        return
    target = Path(uri)
    before = target.stat()
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        scratch.write_bytes(data)
        scratch.chmod(before.st_mode & 0o777)
        os.utime(scratch, ns=(before.st_atime_ns, before.st_mtime_ns))
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
