"""What each table's columns are made from, as the Dagster UI and OpenLineage show it."""

from __future__ import annotations

#: For each table and column: the (table, column) that it is made from. Columns and tables that are not named are new.
COLUMN_LINEAGE: dict[str, dict[str, list[tuple[str, str]]]] = {
    "raw_crawl": {},
    "concept_captions": {
        "image_sha256": [("raw_crawl", "image_sha256")],
        "input_hash": [("raw_crawl", "image_sha256")],
        "text": [("raw_crawl", "shard_uri"), ("raw_crawl", "image_offset"), ("raw_crawl", "image_length")],
        "engine_text": [
            ("raw_crawl", "shard_uri"),
            ("raw_crawl", "image_offset"),
            ("raw_crawl", "image_length"),
        ],
        "crawl_partition": [("raw_crawl", "crawl_partition")],
    },
    "vecap": {
        "sample_id": [("raw_crawl", "sample_id")],
        "concept_engine_id": [("concept_captions", "engine_id")],
        "text": [("raw_crawl", "alt_text"), ("concept_captions", "text")],
        "engine_text": [("raw_crawl", "alt_text"), ("concept_captions", "text")],
        "input_hash": [
            ("raw_crawl", "alt_text"),
            ("concept_captions", "text"),
            ("concept_captions", "engine_id"),
        ],
        "route": [("raw_crawl", "alt_text"), ("concept_captions", "text")],
        "crawl_partition": [("raw_crawl", "crawl_partition")],
    },
    "duplicates": {column: [("raw_crawl", column)] for column in ("sample_id", "image_sha256", "phash")}
    | {"group_id": [("raw_crawl", "sample_id"), ("raw_crawl", "phash")], "distance": [("raw_crawl", "phash")]},
    "training_sets": {
        "sample_id": [("raw_crawl", "sample_id")],
        "image_sha256": [("raw_crawl", "image_sha256")],
        "crawl_partition": [("raw_crawl", "crawl_partition")],
        "texts": [("raw_crawl", "alt_text"), ("vecap", "text"), ("concept_captions", "text")],
    },
    "checkpoints": {
        "recipe": [("training_sets", "recipe")],
        "set_version": [("training_sets", "set_version")],
        "weights_sha256": [
            ("training_sets", "texts"),
            ("training_sets", "probabilities"),
            ("raw_crawl", "shard_uri"),
            ("raw_crawl", "image_offset"),
        ],
        "samples": [("training_sets", "sample_id")],
    },
    "benchmark_scores": {
        "checkpoint_id": [("checkpoints", "checkpoint_id")],
        "recipe": [("checkpoints", "recipe")],
        "value": [("checkpoints", "weights_sha256")],
    },
}
