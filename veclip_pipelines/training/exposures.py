"""How often a checkpoint saw a sample, and which of its texts: worked out from the draw, which remembers nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from veclip_pipelines.training.draw import draw, times_seen
from veclip_pipelines.training.exposure import exposure_of


def times_shown(
    checkpoint: Mapping[str, Any], taken: Sequence[Mapping[str, Any]], folder: Path
) -> dict[str, dict[str, Any]]:
    """For each sample: checkpoint_id, times it was to be seen, times it was seen, and how often with each source's text.

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
