"""Files beside the Delta tables: found, read, written whole or not at all, overwritten in place and removed.

A place is named by a URI: a path on this machine, or a URL of a store that fsspec supports (s3://, gs://, memory://). Delta's own
files are reached not through here but through the warehouse's Arrow filesystem (tables/), because Delta and DuckDB need an Arrow one.

A writer gets a scratch file beside the target, ``.NAME.0123456789ab.tmp``, which takes the target's name in one rename. If the writer
is killed, the scratch keeps its name: readers of drops skip it, and ``veclip prune`` finds it by its suffix. Two writers have a last
step of their own, as of two rivals the first must stay: the tables' data files and a fresh MLflow store.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import fsspec

#: How the name of a scratch file ends.
SCRATCH = ".tmp"
#: What different stores call a file's modification time.
_CHANGED = ("mtime", "LastModified", "last_modified", "updated")
#: Protocols may be chained: simplecache::s3://bucket/drop.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")


@dataclass(frozen=True)
class StoredFile:
    """One file under a folder.

    Attributes:
        path: relative to the folder, with slashes.
        size: bytes.
        changed: modification time in seconds, None if the store does not report one.
        version: differs if the content does, as far as the store can tell: an ETag, else the modification time, else "".
    """

    uri: str
    path: str
    size: int
    changed: float | None
    version: str


def is_url(uri: str) -> bool:
    """Whether a URI is that of a store; otherwise it is a path on this machine."""
    return _URL.match(uri) is not None


def is_there(uri: str) -> bool:
    """Whether the file or folder exists."""
    filesystem, path = _at(uri)
    return bool(filesystem.exists(path))


def is_file(uri: str) -> bool:
    filesystem, path = _at(uri)
    return bool(filesystem.isfile(path))


def is_folder(uri: str) -> bool:
    filesystem, path = _at(uri)
    return bool(filesystem.isdir(path))


def size_of(uri: str) -> int:
    """Bytes of a file, or of all files of a folder. Raises FileNotFoundError."""
    filesystem, path = _at(uri)
    info = filesystem.info(path)
    return int(filesystem.du(path) if info["type"] == "directory" else info["size"])


def names_in(uri: str, *, folders_only: bool = False) -> list[str]:
    """Names of the files and folders directly in a folder, sorted. Raises OSError if it cannot be listed."""
    filesystem, path = _at(uri)
    found = filesystem.ls(path, detail=True)
    return sorted(
        str(info["name"]).rstrip("/").rpartition("/")[2]
        for info in found
        if not folders_only or info["type"] == "directory"
    )


def files_under(uri: str) -> Iterator[StoredFile]:
    """All files of a folder and of the folders in it, by path; if it is a file, that file; if nothing is there, none."""
    filesystem, root = _at(uri)
    if not filesystem.exists(root):
        return
    for name, info in sorted(filesystem.find(root, detail=True).items()):
        facts = info or filesystem.info(name)  # fsspec reports nothing about a root that is itself a file
        changed = next((facts[key] for key in _CHANGED if facts.get(key)), None)
        yield StoredFile(
            uri=str(filesystem.unstrip_protocol(name)) if is_url(uri) else str(name),
            path=str(name).removeprefix(root).strip("/") or str(name).rpartition("/")[2],
            size=int(facts.get("size") or 0),
            changed=_seconds(changed or facts.get("created")),
            version=str(facts.get("ETag") or facts.get("etag") or changed or ""),
        )


def _seconds(value: object) -> float | None:
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, int | float) else None


def open_file(uri: str, **how: Any) -> AbstractContextManager[BinaryIO]:
    """Opens a file for reading with seeks, in a ``with`` block.

    Args:
        how: further arguments of ``fsspec.open``, such as compression="infer".
    """
    return fsspec.open(uri, "rb", **how)  # type: ignore[no-any-return]


def open_text(uri: str, **how: Any) -> AbstractContextManager[TextIO]:
    """Like :func:`open_file`, for text; UTF-8 unless another encoding is given."""
    return fsspec.open(uri, "rt", **how)  # type: ignore[no-any-return]


def read_bytes(uri: str) -> bytes:
    """A file's whole content."""
    with open_file(uri) as file:
        return bytes(file.read())


@contextmanager
def whole_file(target: str | Path, *, durable: bool = False, may_be_dropped: bool = False) -> Iterator[Path]:
    """A scratch file to write into: it becomes the target if the block succeeds, and is removed if not.

    For a store, the scratch is in a private folder among this
    machine's temporary files, and is then uploaded.

    Args:
        durable: also survive a power failure: the content is on the disk before it gets its name.
        may_be_dropped: if the block removes the scratch, the target stays as it was; otherwise that is an error.
    """
    if is_url(str(target)):
        with tempfile.TemporaryDirectory(prefix="veclip-upload-") as folder:
            scratch = Path(folder) / "scratch"
            yield scratch
            if scratch.exists() or not may_be_dropped:
                filesystem, path = _at(str(target))
                filesystem.put_file(str(scratch), path)
        return
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = _scratch(target)
    try:
        yield scratch
        if durable:
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
        # One that somebody else took away is an error: the target would not be there, and nothing would say so.
        if scratch.exists() or not may_be_dropped:
            scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """An empty scratch folder: it becomes the target if the block succeeds, and is removed if not.

    Raises:
        OSError: the target exists and is not empty: to replace a folder, remove it at the end of the block.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = _scratch(target)
    scratch.mkdir()
    try:
        yield scratch
        scratch.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def put_bytes(target: str | Path, data: bytes) -> None:
    """Writes a file, which gets its name only when it is whole. Raises OSError."""
    uri = str(target)
    if is_url(uri):
        filesystem, path = _at(uri)
        filesystem.pipe_file(path, bytes(data))
        return
    with whole_file(uri) as scratch:
        scratch.write_bytes(data)


def put_text(target: str | Path, text: str) -> None:
    """Like :func:`put_bytes`, for text in UTF-8."""
    put_bytes(target, text.encode())


def zero_ranges(uri: str, ranges: Sequence[tuple[int, int]]) -> None:
    """Overwrites ranges (offset, length) with zeros in place.

    The file's size and modification time stay the same, so nothing is re-read because of it. On a store the object is swapped for
    one of the same size.

    Raises:
        OSError: the file does not exist or cannot be changed.
    """
    if not ranges:
        return
    if is_url(uri):
        filesystem, path = _at(uri)
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
    """Replaces a file's content, whole or not at all, keeping its mode and modification time."""
    if is_url(uri):
        put_bytes(uri, data)
        return
    before = Path(uri).stat()
    with whole_file(uri) as scratch:
        scratch.write_bytes(data)
        scratch.chmod(before.st_mode & 0o777)
        os.utime(scratch, ns=(before.st_atime_ns, before.st_mtime_ns))


def remove(uri: str) -> None:
    """Removes a file or folder, if it exists."""
    filesystem, path = _at(uri)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def scratch_in(folder: Path) -> list[Path]:
    """Scratch directly in a folder, left by writers that are still running or were killed."""
    return sorted(folder.glob(f".*{SCRATCH}"))


def _scratch(target: Path) -> Path:
    """A name that no other writer uses; a file name can have at most 255 bytes."""
    name = os.fsencode(target.name)[:100].decode("utf-8", "ignore")
    return target.parent / f".{name}.{uuid.uuid4().hex[:12]}{SCRATCH}"


def _at(uri: str) -> tuple[Any, str]:
    filesystem, path = fsspec.core.url_to_fs(uri)
    return filesystem, str(path)
