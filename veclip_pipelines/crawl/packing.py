"""Tars of our own, for pictures that come without one: loose files and fetched ones. A tar gets its name only when it is whole."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.media.storage import whole_file

_BLOCK = 512
_ENDINGS = {
    "image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp", "image/avif": "avif",
    "image/bmp": "bmp", "image/tiff": "tif", "image/mpo": "jpg",
}  # fmt: skip


class TarPacker:
    """Writes pictures into one tar, each picture only once. Members are named after their SHA-256."""

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
    """A packer for the tar at ``uri``. The tar appears when the block ends without an error, and only if something was packed.

    Raises:
        VeclipError: the place cannot be written to; nothing is left behind.
    """
    try:
        with whole_file(uri, may_be_dropped=True) as scratch:
            with scratch.open("wb") as file:
                packer = TarPacker(file)
                yield packer
                file.write(bytes(2 * _BLOCK))
            # Whoever reads the warehouse reads its pictures, whatever mask this process has.
            scratch.chmod(0o644)
            if not packer.pictures:
                scratch.unlink()
    except OSError as error:
        raise VeclipError(
            f"cannot write the shard {uri}: {error}. Nothing of this step was committed. "
            "Free space or set VECLIP_SHARDS to a place that can be written, then run it again."
        ) from error
