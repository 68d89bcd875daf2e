"""Lists of uids in DataComp's format: sorted pairs of 64-bit halves, the form of DFN's and DataComp's own subsets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.storage import whole_file

_DTYPE = np.dtype("u8,u8")


def read_uids(path: Path) -> pa.Table:
    """The list as a table with columns hi and lo, memory-mapped and not copied.

    Raises:
        UsageError: the file does not exist or is not such a list.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no list of uids (numpy u8,u8): {error}") from error
    if found.dtype != _DTYPE or found.ndim != 1:
        raise UsageError(f"{path} is no list of uids: it holds {found.dtype}, and a list of DataComp's holds u8,u8")
    return pa.table({"hi": pa.array(found["f0"]), "lo": pa.array(found["f1"])})


def write_uids(path: Path, uids: Iterable[str]) -> int:
    """Writes uids of 32 hex digits each, sorted and without repeats; returns their number."""
    halves = sorted({(int(uid[:16], 16), int(uid[16:], 16)) for uid in uids})
    with whole_file(path) as scratch, scratch.open("wb") as file:
        np.save(file, np.array(halves, dtype=_DTYPE))
    return len(halves)


def uids_version(path: Path) -> str:
    """SHA-256 of a list. Raises UsageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"the recipe's list of uids {path} cannot be read: {error}") from error
