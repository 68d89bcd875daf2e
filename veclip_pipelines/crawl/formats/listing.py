"""A drop's folder, listed once: its files by relative path, with size and modification time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from veclip_pipelines.media.storage import StoredFile, files_under, is_folder, is_url

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Listing:
    """All files of a folder, by path relative to it, sorted.

    Attributes:
        markers: names of files that begin with an underscore (``_SUCCESS``): they say something about the drop and are not part of it.
    """

    uri: str
    files: tuple[StoredFile, ...]
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
        """Hash over names, sizes and modification times of all files: changes if the drop grows or is replaced."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.path}\0{file.size}\0{file.version}\n".encode())
        return digest.hexdigest()


def list_folder(uri: str) -> Listing | None:
    """All files under a folder or URL, without hidden ones and unfinished uploads; None if there is no such folder."""
    if not is_url(uri):
        uri = str(Path(uri).expanduser().resolve())
    if not is_folder(uri):
        return None
    found, markers = [], set()
    for file in files_under(uri):
        if any(part.startswith(".") for part in file.path.split("/")):
            continue
        if file.path.rpartition("/")[2].startswith("_"):
            markers.add(file.path)
        else:
            found.append(file)
    return Listing(uri, tuple(found), frozenset(markers))
