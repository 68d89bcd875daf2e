"""What keeps a table's commits as cheap at the 1,000th partition as at the 10th: a short log, and few small files.

Opening a table lists its log and replays it from the newest checkpoint, so the log is cut behind one. Earlier contents of a
partition do not hang on it: the provenance table names their data files.
"""

from __future__ import annotations

import contextlib
import re

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from veclip_pipelines.tables.spec import TableSpec
from veclip_pipelines.tables.warehouse import Warehouse

#: Versions that stay in the log: readers and writers that opened the table a moment ago need those after their own.
KEPT_VERSIONS = 20
#: Looked at so often, in commits: in between the log is longer by as many.
_EVERY = 10
#: Small files of a table of single rows that are rewritten as one.
COMPACT_AT = 50
_ENTRY = re.compile(r"(\d{20})\.(?:json|checkpoint\.parquet)")


def trim_log(warehouse: Warehouse, spec: TableSpec, version: int) -> int:
    """Removes log entries that the newest checkpoint before the kept versions makes superfluous; says how many."""
    if version % _EVERY:
        return 0
    filesystem = warehouse.filesystem
    folder = pafs.FileSelector(warehouse.path(spec, "_delta_log"))
    entries = {
        info.path: int(match.group(1))
        for info in filesystem.get_file_info(folder)
        if (match := _ENTRY.fullmatch(info.base_name))
    }
    checkpoints = [at for path, at in entries.items() if path.endswith(".parquet") and at <= version - KEPT_VERSIONS]
    if not checkpoints:
        return 0
    old = [path for path, at in entries.items() if at < max(checkpoints)]
    for path in old:
        with contextlib.suppress(FileNotFoundError):  # a rival trims too
            filesystem.delete_file(path)
    return len(old)


def compact(table: DeltaTable) -> bool:
    """Rewrites the small files of a table that grows by single rows as one; a rival's commit in between leaves it as it is."""
    sizes = pa.table(table.get_add_actions(flatten=True))["num_records"].to_pylist()
    if len(sizes) < COMPACT_AT:
        return False
    with contextlib.suppress(DeltaError):
        table.optimize.compact()
        return True
    return False
