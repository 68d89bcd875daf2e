"""The samples of a training set as training needs them: texts with probabilities, and where the picture is."""

from __future__ import annotations

from dataclasses import dataclass

from veclip_pipelines.shards import ByteRange
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.schemas import KEPT
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class TrainingSample:
    """One sample: its texts, the probability of each, and its picture's bytes in the shard."""

    sample_id: str
    picture: ByteRange
    texts: tuple[str, ...]
    probabilities: tuple[float, ...]


def read_samples(warehouse: Warehouse, recipe: str, set_version: str) -> list[TrainingSample]:
    """The kept samples of a set, in the order of their shards."""
    rows = read_rows(
        warehouse,
        "SELECT t.sample_id, t.texts, t.probabilities, r.shard_uri, r.image_offset, r.image_length "  # noqa: S608
        "FROM training_sets t JOIN raw_crawl r ON r.sample_id = t.sample_id AND r.crawl_partition = t.crawl_partition "
        f"WHERE t.recipe = ? AND t.set_version = ? AND t.outcome = '{KEPT}' AND r.outcome = '{KEPT}' "
        "ORDER BY r.shard_uri, r.image_offset, t.sample_id",
        [recipe, set_version],
        tables=["training_sets", "raw_crawl"],
    )
    return [
        TrainingSample(
            row["sample_id"],
            ByteRange(row["shard_uri"], row["image_offset"], row["image_length"]),
            tuple(text["text"] for text in row["texts"]),
            tuple(row["probabilities"]),
        )
        for row in rows
    ]
