"""A training set as a folder that Hugging Face's datasets loads: Parquet with an Image column, and a card that says so.

Written with pyarrow alone; the features in the Parquet metadata make a struct of bytes and path an Image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from veclip_pipelines.errors import UsageError
from veclip_pipelines.export.exported_samples import ExportedSample, exported_samples
from veclip_pipelines.media.shards import read_range
from veclip_pipelines.media.storage import scratch_in, whole_file
from veclip_pipelines.tables.warehouse import Warehouse

_SOURCES = ("alt_text", "concept_caption", "vecap", "caption")
_STRINGS = ("sample_id", "image_sha256", "url", "part", *_SOURCES)
_NUMBERS = {"width": pa.int32(), "height": pa.int32(), "weight": pa.float64()}
_PROBABILITIES = [f"probability_{source}" for source in _SOURCES]
_FEATURES = {
    "image": {"_type": "Image"},
    **{name: {"dtype": "string", "_type": "Value"} for name in _STRINGS},
    "width": {"dtype": "int32", "_type": "Value"},
    "height": {"dtype": "int32", "_type": "Value"},
    "weight": {"dtype": "float64", "_type": "Value"},
    **{name: {"dtype": "float64", "_type": "Value"} for name in _PROBABILITIES},
}
_SCHEMA = pa.schema(
    [
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        *(pa.field(name, pa.string()) for name in _STRINGS),
        *(pa.field(name, type_) for name, type_ in _NUMBERS.items()),
        *(pa.field(name, pa.float64()) for name in _PROBABILITIES),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)
_ROW_GROUP = 100


def export_huggingface(
    warehouse: Warehouse, recipe: str, set_version: str, folder: Path, *, per_file: int = 10_000
) -> int:
    """Writes data/train-NNNNN.parquet and a README.md; returns the number of samples.

    Raises:
        UsageError: the set has no samples, or the folder holds files of another export.
    """
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    samples = exported_samples(warehouse, recipe, set_version)
    count, number = 0, 0
    while part := list(islice(samples, per_file)):
        path = data / f"train-{number:05d}.parquet"
        with whole_file(path) as scratch, pq.ParquetWriter(scratch, _SCHEMA, compression="zstd") as writer:
            for at in range(0, len(part), _ROW_GROUP):
                rows = [_row(sample) for sample in part[at : at + _ROW_GROUP]]
                writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
        count, number = count + len(part), number + 1
    if not count:
        raise UsageError(f"training set {set_version} of recipe {recipe!r} has no samples to export")
    if beyond := sorted(path.name for path in data.glob("train-*.parquet") if int(path.stem[6:]) >= number):
        raise UsageError(f"{data} holds files of another export, such as {beyond[0]}: choose another folder.")
    (folder / "README.md").write_text(_card(recipe, set_version, count), "utf-8")
    return count


def remove_from_huggingface(folder: Path, sample_ids: Collection[str], announce: Callable[[int], None]) -> None:
    """Removes samples from an export: a file that has some is rewritten without them.

    Args:
        announce: called with how many of them the export has, if any, before it is changed.
    """
    wanted = pa.array(sorted(sample_ids), pa.string())
    _remove_scratch(folder / "data")
    found = {path: _count(path, wanted) for path in sorted((folder / "data").glob("train-*.parquet"))}
    if not any(found.values()):
        return
    announce(sum(found.values()))
    for path in [path for path, count in found.items() if count]:
        with whole_file(path) as scratch, pq.ParquetWriter(scratch, _SCHEMA, compression="zstd") as writer:
            for batch in pq.ParquetFile(path).iter_batches(batch_size=_ROW_GROUP):
                kept = batch.filter(pc.invert(pc.is_in(batch.column("sample_id"), value_set=wanted)))
                if kept.num_rows:
                    writer.write_batch(kept)


def _remove_scratch(data: Path) -> None:
    """Takes away what an export that was killed has left; until release 0.1 it was called train-00000.part."""
    for scratch in (*scratch_in(data), *data.glob("train-*.part")):
        scratch.unlink()


def _count(path: Path, sample_ids: pa.Array) -> int:
    ids = pq.read_table(path, columns=["sample_id"])["sample_id"]
    return int(pc.sum(pc.is_in(ids, value_set=sample_ids)).as_py() or 0)


def _row(sample: ExportedSample) -> dict[str, object]:
    return {
        "image": {"bytes": read_range(sample.picture), "path": f"{sample.sample_id}.{sample.extension}"},
        **{name: getattr(sample, name) for name in ("sample_id", "image_sha256", "url", "part", *_NUMBERS)},
        **sample.texts,
        **{f"probability_{source}": share for source, share in sample.probabilities.items()},
    }


def _card(recipe: str, set_version: str, count: int) -> str:
    return (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*.parquet\n---\n"
        f"Training set {set_version} of recipe {recipe}: {count} samples. Each text has a column of its own, and its probability "
        "another; training draws one of a sample's texts at each step.\n"
    )
