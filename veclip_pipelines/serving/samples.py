"""What the pages show, read from the warehouse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from veclip_pipelines.media.shards import ByteRange, read_ranges
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

_CAPTION_TABLES = ["raw_crawl", "concept_captions", "vecap", "provenance"]


@dataclass(frozen=True)
class ShownSample:
    """A sample with its texts side by side. All of them are a stranger's or a model's words: escape them."""

    sample_id: str
    image_sha256: str
    picture: ByteRange
    width: int
    height: int
    alt_text: str
    concept: str | None
    vecap: str | None
    route: str | None
    reason: str | None

    def picture_bytes(self) -> bytes:
        return next(read_ranges([self.picture]))


def kept_samples(warehouse: Warehouse, partition: str, limit: int, offset: int = 0) -> list[ShownSample]:
    """Kept samples of a crawl partition in the order of their shards, with the captions of the newest materialisation."""
    sql = f"""
        WITH newest AS (
            SELECT asset, json_extract_string(inputs, '$.engine') AS engine_id FROM provenance WHERE partition = $key
            QUALIFY row_number() OVER (PARTITION BY asset ORDER BY recorded_at DESC) = 1)
        SELECT r.sample_id, r.image_sha256, r.shard_uri, r.image_offset, r.image_length, r.width, r.height, r.alt_text,
               c.text AS concept, v.text AS vecap, v.route, v.reason
        FROM raw_crawl r
        LEFT JOIN concept_captions c ON c.image_sha256 = r.image_sha256 AND c.crawl_partition = r.crawl_partition
             AND c.engine_id = (SELECT engine_id FROM newest WHERE asset = 'concept_captions')
        LEFT JOIN vecap v ON v.sample_id = r.sample_id AND v.crawl_partition = r.crawl_partition
             AND v.engine_id = (SELECT engine_id FROM newest WHERE asset = 'vecap')
        WHERE r.crawl_partition = $key AND r.outcome = '{KEPT}'
        ORDER BY r.shard_uri, r.image_offset, r.sample_id LIMIT $limit OFFSET $offset"""  # noqa: S608
    rows = read_rows(warehouse, sql, {"key": partition, "limit": limit, "offset": offset}, tables=_CAPTION_TABLES)
    return [
        ShownSample(
            row["sample_id"],
            row["image_sha256"],
            ByteRange(row["shard_uri"], row["image_offset"], row["image_length"]),
            row["width"],
            row["height"],
            row["alt_text"] or "",
            row["concept"],
            row["vecap"],
            row["route"],
            row["reason"],
        )
        for row in rows
    ]


def find_picture(warehouse: Warehouse, image_sha256: str) -> ByteRange | None:
    """Where a kept picture is, or None."""
    rows = read_rows(
        warehouse,
        f"SELECT shard_uri, image_offset, image_length FROM raw_crawl WHERE image_sha256 = ? AND outcome = '{KEPT}' LIMIT 1",  # noqa: S608
        [image_sha256],
        tables=["raw_crawl"],
    )
    return ByteRange(*rows[0].values()) if rows else None


def partition_counts(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Per crawl partition and reason: number of rows kept (reason empty) and rejected."""
    return read_rows(
        warehouse,
        "SELECT crawl_partition, outcome, coalesce(reason, '') AS reason, count(*) AS n FROM raw_crawl "
        "GROUP BY ALL ORDER BY crawl_partition, outcome, n DESC, reason",
        tables=["raw_crawl"],
    )


def newest_set(warehouse: Warehouse, recipe: str, limit: int) -> list[dict[str, Any]]:
    """Some rows of the newest training set of a recipe: picture, texts and probabilities."""
    return read_rows(
        warehouse,
        "SELECT sample_id, image_sha256, texts, probabilities, set_version FROM training_sets WHERE recipe = $recipe "  # noqa: S608
        f"AND outcome = '{KEPT}' AND set_version = (SELECT json_extract_string(inputs, '$.training_set') FROM provenance "
        "WHERE asset = 'checkpoints' AND partition = $recipe ORDER BY recorded_at DESC LIMIT 1) ORDER BY sample_id LIMIT $limit",
        {"recipe": recipe, "limit": limit},
        tables=["training_sets", "provenance"],
    )


def text_lengths(warehouse: Warehouse, recipe: str) -> dict[str, list[int]]:
    """Words of each text of the newest training set of a recipe, by source."""
    lengths: dict[str, list[int]] = {}
    for row in newest_set(warehouse, recipe, limit=100_000):
        for text in row["texts"]:
            lengths.setdefault(text["source"], []).append(len(text["text"].split()))
    return lengths


def checkpoints_of(warehouse: Warehouse, recipe: str | None = None) -> list[dict[str, Any]]:
    """Checkpoints, the newest first."""
    return read_rows(
        warehouse,
        "SELECT * FROM checkpoints WHERE $recipe IS NULL OR recipe = $recipe ORDER BY trained_at DESC",
        {"recipe": recipe},
        tables=["checkpoints"],
    )
