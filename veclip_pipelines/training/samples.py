"""The samples of a training set as training needs them: texts with probabilities, and where the picture is.

They are written once into a file in Arrow's own layout, which every rank maps into its memory: 300 million samples cost a
rank no memory of its own, and any sample is read by its number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from veclip_pipelines.media.shards import ByteRange
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.tables.pins import pinned_connection
from veclip_pipelines.tables.warehouse import Warehouse

_ROWS = 16_384
_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("shard_uri", pa.string(), nullable=False),
        pa.field("image_offset", pa.int64(), nullable=False),
        pa.field("image_length", pa.int64(), nullable=False),
        pa.field("texts", pa.list_(pa.string()), nullable=False),
        pa.field("probabilities", pa.list_(pa.float64()), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class TrainingSample:
    """One sample: its texts, the probability of each, and its picture's bytes in the shard."""

    sample_id: str
    picture: ByteRange
    texts: tuple[str, ...]
    probabilities: tuple[float, ...]


def write_samples(warehouse: Warehouse, recipe: str, set_version: str, path: Path) -> int:
    """Writes the kept samples of a set, in the order of their shards; the file appears under its name when it is whole.

    Pictures are looked up in raw_crawl as the set pins it, so that a partition that was replaced since does not matter.

    Returns:
        The number of samples.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".part")
    count = 0
    with pinned_connection(warehouse, recipe, set_version, ["raw_crawl"], also=["training_sets"]) as connection:
        found = connection.sql(
            "SELECT t.sample_id, r.shard_uri, r.image_offset, r.image_length, list_transform(t.texts, lambda x: x.text) AS texts, "  # noqa: S608
            "t.probabilities, coalesce(t.weight, 1.0) AS weight "
            "FROM training_sets t JOIN raw_crawl r ON r.sample_id = t.sample_id AND r.crawl_partition = t.crawl_partition "
            f"WHERE t.recipe = $recipe AND t.set_version = $version AND t.outcome = '{KEPT}' AND r.outcome = '{KEPT}' "
            "ORDER BY r.shard_uri, r.image_offset, t.sample_id",
            params={"recipe": recipe, "version": set_version},
        )
        with pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
            for batch in _even(found.to_arrow_reader(_ROWS)):
                writer.write_batch(batch)
                count += batch.num_rows
    scratch.replace(path)
    return count


def _even(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Batches of the same number of rows, save the last: so a row's number tells its batch."""
    held: list[pa.Table] = []
    rows = 0
    for batch in reader:
        held.append(pa.Table.from_batches([batch]).cast(_SCHEMA))
        rows += batch.num_rows
        while rows >= _ROWS:
            table = pa.concat_tables(held)
            yield from table.slice(0, _ROWS).combine_chunks().to_batches(max_chunksize=_ROWS)
            held, rows = [table.slice(_ROWS)], rows - _ROWS
    if rows:
        yield from pa.concat_tables(held).combine_chunks().to_batches(max_chunksize=_ROWS)


@dataclass(frozen=True)
class SampleFile:
    """The samples that :func:`write_samples` wrote, by their number."""

    path: Path

    @cached_property
    def _reader(self) -> pa.ipc.RecordBatchFileReader:
        return pa.ipc.open_file(pa.memory_map(str(self.path)))

    @cached_property
    def _batch(self) -> Callable[[int], pa.RecordBatch]:
        return lru_cache(maxsize=None)(self._reader.get_batch)  # a mapped batch is an address and a length

    def __len__(self) -> int:
        batches = self._reader.num_record_batches
        return 0 if batches == 0 else (batches - 1) * _ROWS + int(self._reader.get_batch(batches - 1).num_rows)

    def __getitem__(self, number: int) -> TrainingSample:
        batch, row = self._batch(number // _ROWS), number % _ROWS
        values = [column[row].as_py() for column in batch.columns[:6]]
        picture = ByteRange(values[1], values[2], values[3])
        return TrainingSample(values[0], picture, tuple(values[4]), tuple(values[5]))

    def sample_id(self, number: int) -> str:
        """One sample's id, without its texts."""
        found: str = self._batch(number // _ROWS).column("sample_id")[number % _ROWS].as_py()
        return found

    def keys(self) -> npt.NDArray[np.uint64]:
        """The first 64 bits of each sample_id, shape (samples,)."""
        found = [
            np.frombuffer(bytes.fromhex("".join(sample_id[:16] for sample_id in part)), dtype=">u8")
            for part in map(pa.Array.to_pylist, self.sample_ids())
        ]
        return np.concatenate(found or [np.empty(0, ">u8")]).astype(np.uint64)

    def weights(self) -> npt.NDArray[np.float64]:
        """The weight of each sample, shape (samples,)."""
        return np.array([weight for part in self._column("weight") for weight in part], dtype=np.float64)

    def texts(self, most: int) -> Iterator[str]:
        """The texts of the first samples: what a tokenizer is trained on."""
        for part in self._column("texts"):
            for texts in part:
                if most <= 0:
                    return
                most -= 1
                yield from texts

    def sample_ids(self) -> Iterator[pa.Array]:
        """All sample_ids in their order, in parts."""
        for number in range(self._reader.num_record_batches):
            yield self._reader.get_batch(number).column("sample_id")

    def _column(self, name: str) -> Iterator[list[Any]]:
        for number in range(self._reader.num_record_batches):
            yield self._reader.get_batch(number).column(name).to_pylist()


def describe(samples: SampleFile) -> str:
    """Number of samples and the columns, JSON: the schema of an MLflow dataset."""
    return json.dumps({"samples": len(samples), "columns": _SCHEMA.names})
