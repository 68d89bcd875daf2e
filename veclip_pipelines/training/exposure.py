"""How often a training showed each sample, and with which of its texts.

The counts are written next to the weights, as nothing else in a run can tell them afterwards; the texts are recomputed
from the draw, which keeps no state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from veclip_pipelines.tables.database import connection as open_connection
from veclip_pipelines.tables.query import Asker
from veclip_pipelines.training.batches import Seen
from veclip_pipelines.training.draw import draw, times_seen
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
        whole_epochs: epochs that the training completed.
        last: of ``seen``, those in the epoch that it began but did not finish.
    """

    seen: int
    whole_epochs: int
    last: int


def write_exposure(folder: Path, samples: SampleFile, seen: Seen) -> None:
    """Writes a row for each sample, in the order of the sample file; a bloom filter over sample_id makes them quick to find."""
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


def times_shown(
    checkpoint: Mapping[str, Any], taken: Sequence[Mapping[str, Any]], folder: Path
) -> dict[str, dict[str, Any]]:
    """For each sample: checkpoint_id, how often it should be and was seen, and how often with each source's text.

    Args:
        checkpoint: its row. taken: rows of its training set. folder: of its weights, with the record of what was shown.
    """
    training = json.loads(checkpoint["settings"])["training"]
    shown = exposure_of(folder, [row["sample_id"] for row in taken])
    rounds = checkpoint["steps"] * training["batch_size"] / max(1, checkpoint["samples"])
    result = {}
    for row in taken:
        found = shown.get(row["sample_id"])
        seen: dict[str, Any] = {
            "checkpoint_id": checkpoint["checkpoint_id"],
            "expected": round(row["weight"] * rounds, 2),
            "actual": None if found is None else found.seen,
        }
        if found is not None:
            times = [_in_epoch(training["seed"], epoch, row) for epoch in range(found.whole_epochs)] + [found.last]
            drawn: dict[str, int] = {}
            for epoch, count in enumerate(times):
                text = row["texts"][draw(training["seed"], epoch, row["sample_id"], row["probabilities"])]
                drawn[text["source"]] = drawn.get(text["source"], 0) + count
            seen["drawn"] = drawn
        result[row["sample_id"]] = seen
    return result


def _in_epoch(seed: int, epoch: int, row: Mapping[str, Any]) -> int:
    if row["weight"] == 1.0:
        return 1
    key = np.array([int(row["sample_id"][:16], 16)], dtype=np.uint64)
    return int(times_seen(seed, epoch, key, np.array([row["weight"]]))[0])
