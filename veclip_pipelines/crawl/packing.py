"""Tars of our own, for pictures that have none: loose files and fetched ones. A tar stands under its name only when whole."""

from __future__ import annotations

import contextlib
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import fsspec

from veclip_pipelines.errors import VeclipError

_BLOCK = 512
_ENDINGS = {
    "image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp", "image/avif": "avif",
    "image/bmp": "bmp", "image/tiff": "tif", "image/mpo": "jpg",
}  # fmt: skip


class TarPacker:
    """Writes pictures into one tar; the same picture stands in it once. Members are named by their SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offsets: dict[str, int] = {}

    @property
    def pictures(self) -> int:
        return len(self._offsets)

    def add(self, image_sha256: str, media_type: str, data: bytes) -> int:
        """Offset of the picture's bytes in the tar."""
        if image_sha256 not in self._offsets:
            member = tarfile.TarInfo(f"{image_sha256}.{_ENDINGS.get(media_type, 'bin')}")
            member.size = len(data)
            self._file.write(member.tobuf(tarfile.USTAR_FORMAT))
            self._offsets[image_sha256] = self._file.tell()
            self._file.write(data)
            self._file.write(bytes(-len(data) % _BLOCK))
        return self._offsets[image_sha256]


@contextmanager
def pack_tar(uri: str) -> Iterator[TarPacker]:
    """A packer for the tar at ``uri``. The tar appears when the block ends well, and not where nothing was packed.

    Raises:
        VeclipError: the place cannot be written; nothing is left behind.
    """
    local = "://" not in uri
    folder = Path(uri).parent if local else Path(tempfile.gettempdir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".packing-", dir=folder)
    except OSError as error:
        raise _not_writable(uri, error) from error
    scratch = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            packer = TarPacker(file)
            yield packer
            file.write(bytes(2 * _BLOCK))
        if packer.pictures and local:
            scratch.chmod(0o644)
            scratch.replace(uri)
        elif packer.pictures:
            filesystem, path = fsspec.core.url_to_fs(uri)
            filesystem.put_file(name, path)
    except OSError as error:
        raise _not_writable(uri, error) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            scratch.unlink()


def _not_writable(uri: str, error: OSError) -> VeclipError:
    return VeclipError(
        f"cannot write the shard {uri}: {error}. Nothing of this step was committed. "
        "Free space or set VECLIP_SHARDS to a place that can be written, then run it again."
    )
