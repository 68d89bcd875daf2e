"""A training set as a DataComp subset: sorted pairs of 64-bit halves of the samples' uids, as DataComp's resharder reads them."""

from __future__ import annotations

import re
from pathlib import Path

from veclip_pipelines.errors import UsageError
from veclip_pipelines.export.rows import exported_samples
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.uids import write_uids

_UID = re.compile(r"[0-9a-f]{32}")


def export_datacomp(warehouse: Warehouse, recipe: str, set_version: str, path: Path) -> int:
    """Writes a .npy of dtype u8,u8; each uid once, sorted. A sample without a uid of DataComp's goes by its sample_id.

    Returns:
        The number of uids.

    Raises:
        UsageError: the set has no samples.
    """
    uids = [
        sample.uid if _UID.fullmatch(sample.uid) else sample.sample_id
        for sample in exported_samples(warehouse, recipe, set_version)
    ]
    if not uids:
        raise UsageError(f"training set {set_version} of recipe {recipe!r} has no samples to export")
    return write_uids(path, uids)
