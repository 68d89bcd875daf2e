"""A training set as a DataComp subset: sorted pairs of 64-bit halves of the samples' uids, as DataComp's resharder reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path

from veclip_pipelines.errors import UsageError
from veclip_pipelines.export.exported_samples import exported_samples
from veclip_pipelines.media.uids import read_uids, write_uids
from veclip_pipelines.tables.warehouse import Warehouse

_UID = re.compile(r"[0-9a-f]{32}")


def export_datacomp(warehouse: Warehouse, recipe: str, set_version: str, path: Path) -> int:
    """Writes a .npy of dtype u8,u8; each uid once, sorted. A sample without a DataComp uid is listed by its sample_id.

    Returns:
        The number of uids.

    Raises:
        UsageError: the set has no samples.
    """
    uids = [uid_of(sample.uid, sample.sample_id) for sample in exported_samples(warehouse, recipe, set_version)]
    if not uids:
        raise UsageError(f"training set {set_version} of recipe {recipe!r} has no samples to export")
    return write_uids(path, uids)


def uid_of(uid: str, sample_id: str) -> str:
    """The uid under which a sample is listed."""
    return uid if _UID.fullmatch(uid) else sample_id


def remove_from_datacomp(path: Path, uids: Collection[str], announce: Callable[[int], None]) -> None:
    """Removes uids from a list; ``announce`` is called with how many it has, if any, before it is changed."""
    found = read_uids(path)
    before = [f"{hi:016x}{lo:016x}" for hi, lo in zip(found["hi"].to_pylist(), found["lo"].to_pylist(), strict=True)]
    gone = set(before) & set(uids)
    if gone:
        announce(len(gone))
        write_uids(path, [uid for uid in before if uid not in gone])
