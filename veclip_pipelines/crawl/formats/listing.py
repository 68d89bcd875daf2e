"""A drop's folder, looked at once: its files by relative path, with size and time of change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class FoundFile:
    """One file of a drop. ``changed`` is its time of change in seconds, None where the store does not say."""

    path: str
    size: int
    changed: float | None
    version: str


@dataclass(frozen=True)
class Listing:
    """All files of a folder, by path relative to it, sorted.

    Attributes:
        markers: names of files that begin with an underscore (``_SUCCESS``): they say something of the drop, and are no part of it.
    """

    uri: str
    files: tuple[FoundFile, ...]
    markers: frozenset[str] = frozenset()

    @cached_property
    def paths(self) -> frozenset[str]:
        return frozenset(file.path for file in self.files)

    def ending(self, *endings: str) -> list[str]:
        """Paths with one of these endings, in any case."""
        return [file.path for file in self.files if file.path.lower().endswith(endings)]

    def at(self, path: str) -> str:
        """URI of one of the files."""
        return f"{self.uri.rstrip('/')}/{path}"

    @property
    def newest_change(self) -> float:
        return max((file.changed or 0.0 for file in self.files), default=0.0)

    def fingerprint(self) -> str:
        """Hash over names, sizes and times of all files: changes when the drop grew or was replaced."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.path}\0{file.size}\0{file.version}\n".encode())
        return digest.hexdigest()


def list_folder(uri: str) -> Listing | None:
    """All files under a folder or URL, hidden ones and unfinished uploads left out; None where there is no such folder."""
    if "://" not in uri:
        uri = str(Path(uri).expanduser().resolve())
    filesystem, path = fsspec.core.url_to_fs(uri)
    if not filesystem.isdir(path):
        return None
    root = path.rstrip("/") + "/"
    found, markers = [], set()
    for name, info in filesystem.find(path, detail=True).items():
        relative = str(name).removeprefix(root)
        if any(part.startswith(".") for part in relative.split("/")):
            continue
        if relative.rpartition("/")[2].startswith("_"):
            markers.add(relative)
            continue
        version, changed = _changed(info)
        found.append(FoundFile(relative, int(info["size"] or 0), changed, version))
    return Listing(uri, tuple(sorted(found, key=lambda file: file.path)), frozenset(markers))


def _changed(info: dict[str, Any]) -> tuple[str, float | None]:
    value = info.get("mtime") or info.get("LastModified") or info.get("last_modified") or info.get("updated")
    version = str(info.get("ETag") or info.get("etag") or value or "")
    if isinstance(value, datetime):
        return version, value.timestamp()
    return version, float(value) if isinstance(value, int | float) else None
