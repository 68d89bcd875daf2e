"""How often a training showed each sample: written beside the weights, as nothing else of a run can tell it afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from veclip_pipelines.tables.database import connection as open_connection
from veclip_pipelines.tables.query import Asker
from veclip_pipelines.training.batches import Seen
from veclip_pipelines.training.samples import SampleFile

EXPOSURE = "exposure.parquet"
_EPOCHS = b"veclip.whole_epochs"
_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("seen", pa.uint32(), nullable=False),
        pa.field("seen_in_last_epoch", pa.uint32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Exposure:
    """How often a training showed a sample.

    Attributes:
        seen: times, over all epochs.
        whole_epochs: epochs that the training went through from end to end.
        last: of ``seen``, those in the epoch that it began and did not end.
    """

    seen: int
    whole_epochs: int
    last: int


def write_exposure(folder: Path, samples: SampleFile, seen: Seen) -> None:
    """Writes a row for each sample, in the order of the sample file; found again by a bloom filter over sample_id."""
    schema = _SCHEMA.with_metadata({_EPOCHS: str(seen.epochs).encode()})
    filters = {"sample_id": {"ndv": max(1, min(len(samples), 1 << 17)), "fpp": 0.01}}
    with pq.ParquetWriter(folder / EXPOSURE, schema, compression="zstd", bloom_filter_options=filters) as writer:
        at = 0
        for ids in samples.sample_ids():
            columns = [ids, *(pa.array(counts[at : at + len(ids)]) for counts in (seen.total, seen.last))]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            at += len(ids)


def exposure_of(folder: Path, sample_ids: list[str]) -> dict[str, Exposure]:
    """The exposure of some samples to a checkpoint; a sample that it was not trained on is missing. Empty where none was written."""
    path = folder / EXPOSURE
    if not path.is_file():
        return {}
    epochs = int(pq.read_schema(path).metadata[_EPOCHS])
    with open_connection() as connection:
        rows = Asker(connection)(
            "SELECT sample_id, seen, seen_in_last_epoch FROM read_parquet(?) WHERE sample_id IN (SELECT unnest(?))",
            [str(path), sample_ids],
        )
    return {row["sample_id"]: Exposure(row["seen"], epochs, row["seen_in_last_epoch"]) for row in rows}
