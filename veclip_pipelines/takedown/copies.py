"""Where samples are besides the tables and the shards: exports, unfinished trainings, plans of runs that were killed.

Each change is announced before it is made: after a kill in between, the rerun could no longer tell what there was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from veclip_pipelines.captioning.plan import FOLDER
from veclip_pipelines.errors import UsageError
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.table_rewrites import Hidden

#: Called with what is about to be done in one place, before it is done.
Announce = Callable[[dict[str, Any]], None]


def clean_export(format_: str, uri: str, marks: Sequence[Mapping[str, Any]], announce: Announce) -> None:
    """Takes samples out of an export, where it has some; one that cannot be changed is announced as not ours."""
    from veclip_pipelines.export.datacomp import remove_from_datacomp, uid_of
    from veclip_pipelines.export.exported_samples import PAGE
    from veclip_pipelines.export.huggingface import remove_from_huggingface
    from veclip_pipelines.export.webdataset import remove_from_webdataset

    target = Path(uri)

    def tell(state: str, what: str, count: int = 0) -> None:
        announce({"step": "export", "place": uri, "state": state, "what": what, "count": count})

    def removing(count: int) -> None:
        tell("removed", f"{format_}: samples taken out", count)

    if not target.exists():
        return tell("removed", "it is not there any more; was it moved?")
    ids = {row["sample_id"] for row in marks}
    try:
        if format_ == "webdataset":
            remove_from_webdataset(target, ids, removing)
        elif format_ == "huggingface":
            remove_from_huggingface(target, ids, removing)
        elif format_ == PAGE:
            if count := _shown(target, marks):
                tell("removed", "a page that showed them, removed; make it again", count)
                target.unlink()
        else:
            remove_from_datacomp(target, {uid_of(row["uid"], row["sample_id"]) for row in marks}, removing)
    except (OSError, UsageError, pa.ArrowException) as error:
        tell("not_ours", f"it cannot be changed from here: {error}")


def _shown(page: Path, marks: Sequence[Mapping[str, Any]]) -> int:
    """How many of the samples a page shows, by their ids or their pictures'. The page is removed as a whole: it can be made again
    without them."""
    text = page.read_text("utf-8", "replace")
    names = {str(row[column]) for row in marks for column in ("sample_id", "image_sha256") if row[column]}
    return sum(name in text for name in names)


def drop_trainings(checkpoints: Path, hidden: Hidden, announce: Announce) -> None:
    """Removes the states of unfinished trainings that have one of the samples: they start afresh without it."""
    for path in sorted(checkpoints.glob(".training-*/samples.arrow")):
        with pa.memory_map(str(path)) as source:
            ids = pa.ipc.open_file(source).read_all()["sample_id"].combine_chunks()
            count = int(pc.sum(pc.is_in(ids, value_set=hidden.sample_ids)).as_py() or 0)
        if count:
            what = "a training that had not ended begins anew without them"
            announce({"step": "training", "place": str(path.parent), "state": "removed", "what": what, "count": count})
            shutil.rmtree(path.parent)


def drop_plans(warehouse: Warehouse, hidden: Hidden, announce: Announce) -> None:
    """Removes the captioning plans of killed runs, as they hold AltTexts."""
    folder = pafs.FileSelector(warehouse.folder(FOLDER), recursive=True, allow_not_found=True)
    for info in warehouse.filesystem.get_file_info(folder):
        if info.type != pafs.FileType.File or not info.path.endswith(".parquet"):
            continue
        rows = pq.read_table(info.path, filesystem=warehouse.filesystem, columns=["keys", "image_sha256"])
        keys = pc.list_flatten(rows["keys"])
        named = [
            pc.is_in(keys, value_set=hidden.sample_ids),
            pc.is_in(keys, value_set=hidden.pictures),
            pc.is_in(rows["image_sha256"], value_set=hidden.pictures),
        ]
        count = max(int(pc.sum(found).as_py() or 0) for found in named)
        if count:
            what = "plan of a run that was killed"
            announce({"step": "plan", "place": info.path, "state": "removed", "what": what, "count": count})
            warehouse.filesystem.delete_file(info.path)
