"""What keeps a table's commits as cheap at the 1,000th partition as at the 10th: a short log, and few small files.

Opening a table lists its log and replays it from the newest checkpoint, so the log is cut behind one. Earlier contents of a
partition do not hang on it: the provenance table names their data files.
"""

from __future__ import annotations

import contextlib
import re
import time

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.warehouse import Warehouse

#: Versions that stay in the log, and how old an entry must be to go. The age is what makes it safe: a writer that opened the
#: table and was then held up would find the name of its own next version free again, and write it behind everybody's back.
KEPT_VERSIONS = 20
KEPT_SECONDS = 3600.0
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
    entries, young = {}, set()
    now = time.time()
    for info in filesystem.get_file_info(folder):
        if match := _ENTRY.fullmatch(info.base_name):
            entries[info.path] = int(match.group(1))
            if info.mtime is None or now - info.mtime.timestamp() < KEPT_SECONDS:
                young.add(info.path)
    checkpoints = [at for path, at in entries.items() if path.endswith(".parquet") and at <= version - KEPT_VERSIONS]
    if not checkpoints:
        return 0
    # Up to the oldest of the young ones: the log has no gaps.
    end = min([max(checkpoints), *(entries[path] for path in young)])
    checkpoints = [at for at in checkpoints if at <= end]
    old = [path for path, at in entries.items() if checkpoints and at < max(checkpoints)]
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
