"""Where samples are besides the tables and the shards: exports, trainings that have not ended, plans of runs that were killed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from veclip_pipelines.captioning.plan import FOLDER
from veclip_pipelines.errors import UsageError
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.rewriting import Hidden


def clean_export(format_: str, uri: str, marks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Takes samples out of an export; what was done, None where it has none of them."""
    from veclip_pipelines.export.datacomp import remove_from_datacomp, uid_of
    from veclip_pipelines.export.huggingface import remove_from_huggingface
    from veclip_pipelines.export.rows import PAGE
    from veclip_pipelines.export.webdataset import remove_from_webdataset

    target = Path(uri)
    told = {"step": "export", "place": uri, "count": 0}
    if not target.exists():
        return {**told, "state": "removed", "what": "it is not there any more; was it moved?"}
    ids = {row["sample_id"] for row in marks}
    try:
        if format_ == "webdataset":
            count = remove_from_webdataset(target, ids)
        elif format_ == "huggingface":
            count = remove_from_huggingface(target, ids)
        elif format_ == PAGE:
            return _remove_page(target, told, marks)
        else:
            count = remove_from_datacomp(target, {uid_of(row["uid"], row["sample_id"]) for row in marks})
    except (OSError, UsageError, pa.ArrowException) as error:
        return {**told, "state": "not_ours", "what": f"it cannot be changed from here: {error}"}
    return {**told, "state": "removed", "what": f"{format_}: samples taken out", "count": count} if count else None


def _remove_page(target: Path, told: dict[str, Any], marks: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """A page that shows one of the samples, by its id or its picture's, goes as a whole: it can be made again without it."""
    text = target.read_text("utf-8", "replace")
    names = {str(row[column]) for row in marks for column in ("sample_id", "image_sha256") if row[column]}
    count = sum(name in text for name in names)
    if not count:
        return None
    target.unlink()
    return {**told, "state": "removed", "what": "a page that showed them, removed; make it again", "count": count}


def drop_trainings(checkpoints: Path, hidden: Hidden) -> Iterator[dict[str, Any]]:
    """Removes the states of trainings that have not ended and that have one of the samples: they begin anew without it."""
    for path in sorted(checkpoints.glob(".training-*/samples.arrow")):
        with pa.memory_map(str(path)) as source:
            ids = pa.ipc.open_file(source).read_all()["sample_id"].combine_chunks()
            count = int(pc.sum(pc.is_in(ids, value_set=hidden.sample_ids)).as_py() or 0)
        if count:
            shutil.rmtree(path.parent)
            yield {
                "step": "training",
                "place": str(path.parent),
                "state": "removed",
                "what": "a training that had not ended begins anew without them",
                "count": count,
            }


def drop_plans(warehouse: Warehouse, hidden: Hidden) -> Iterator[dict[str, Any]]:
    """Removes captioning plans, which hold AltTexts, of runs that were killed."""
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
            warehouse.filesystem.delete_file(info.path)
            yield {
                "step": "plan",
                "place": info.path,
                "state": "removed",
                "what": "plan of a run that was killed",
                "count": count,
            }
