"""The Delta tables: explicit Arrow schemas, so that a chunk of nulls never becomes a null-typed column.

A step's kept rows and its rejects stand in one table, told apart by ``outcome``, so that one commit holds both.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

KEPT = "kept"
REJECTED = "rejected"

_TIME = pa.timestamp("us", tz="UTC")
_OUTCOME = [
    pa.field("outcome", pa.string(), nullable=False),
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
]


@dataclass(frozen=True)
class TableSpec:
    """A table: its name, its full schema (partition columns last) and what one row is, column by column."""

    name: str
    row: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    keys: tuple[str, ...]
    descriptions: dict[str, str]

    @property
    def file_schema(self) -> pa.Schema:
        """The schema of one Parquet file: Delta keeps partition columns in the path, not in the file."""
        return pa.schema([f for f in self.schema if f.name not in self.partition_by])


def _table(
    name: str,
    row: str,
    columns: list[tuple[pa.Field, str]],
    partition_by: tuple[str, ...] = (),
    keys: tuple[str, ...] = (),
) -> TableSpec:
    return TableSpec(
        name=name,
        row=row,
        schema=pa.schema([field for field, _ in columns]),
        partition_by=partition_by,
        keys=keys,
        descriptions={field.name: description for field, description in columns},
    )


def _text(name: str, description: str, *, required: bool = False) -> tuple[pa.Field, str]:
    return pa.field(name, pa.string(), nullable=not required), description


_OUTCOME_COLUMNS = [
    (_OUTCOME[0], "kept, or rejected: the row could not be used by this step"),
    (_OUTCOME[1], "reason code of a reject; on a kept row the guard that made the step fall back"),
    (_OUTCOME[2], "what exactly was wrong"),
]
_CRAWL_PARTITION = _text("crawl_partition", "the crawl partition: one crawl drop", required=True)
_ENGINE_ID = _text("engine_id", "hash of model, revision, prompt, decoding and code: see table engines", required=True)
_RUN_ID = _text("run_id", "the Dagster run that wrote the row")

_NAMED_TEXT = pa.struct([pa.field("name", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)])

CRAWL_DROPS = _table(
    "crawl_drops",
    "a crawl drop as it was registered; the newest row of a partition is the one in force",
    [
        _text("crawl_partition", "the crawl partition that the drop became", required=True),
        _text("uri", "folder of the drop", required=True),
        _text("format", "how the drop is laid out", required=True),
        _text("fingerprint", "hash over the drop's file names and sizes", required=True),
        (pa.field("shards", pa.int64(), nullable=False), "number of shards"),
        (
            pa.field("entries", pa.int64()),
            "number of entries that the drop's own records name; none where it keeps no record",
        ),
        _text("registered_by", "who registered it"),
        (pa.field("registered_at", _TIME, nullable=False), "when it was registered"),
        _RUN_ID,
        _text("state", "active; pinned: rolled back, and not to be replaced by itself; retired: taken out of use"),
        _text("label", "the data set, where its columns tell"),
    ],
    keys=("crawl_partition", "registered_at"),
)

RAW_CRAWL = _table(
    "raw_crawl",
    "an entry of the crawl that was read, kept or not",
    [
        _text(
            "sample_id",
            "32 hex of SHA-256 over URL (or source key), raw AltText and image_sha256",
            required=True,
        ),
        _text("image_sha256", "SHA-256 of the picture's bytes as they lie in the shard"),
        _text("url", "where the picture was crawled from"),
        _text("page_url", "the page that showed it"),
        _text("alt_text", "the AltText after cleaning"),
        _text("alt_text_raw", "the AltText as it came"),
        _text("source_key", "the entry's key in its source", required=True),
        _text("shard_uri", "the tar that holds the picture; none where there is no picture to hold"),
        (pa.field("image_offset", pa.int64()), "byte offset of the picture in the shard"),
        (pa.field("image_length", pa.int64()), "byte length of the picture"),
        _text("media_type", "media type, read from the content and not from the name"),
        (pa.field("width", pa.int32()), "width in pixels, orientation applied"),
        (pa.field("height", pa.int32()), "height in pixels, orientation applied"),
        _text("phash", "perceptual hash of the picture, 16 hex"),
        _text("language", "language of the AltText (ISO 639), by fastText's lid.176"),
        (
            pa.field("flags", pa.list_(pa.string()), nullable=False),
            "what a recipe may filter on: empty, file_name, boilerplate, too_short, too_long, email, phone",
        ),
        _text("source_uri", "file of the drop that the entry was read from"),
        _text("final_url", "where a fetched picture was found after redirects, where that is not its url"),
        (pa.field("fetched_at", _TIME), "when the picture was fetched, where it was"),
        (pa.field("language_confidence", pa.float32()), "confidence of the language, 0 to 1"),
        (
            pa.field("nsfw_score", pa.float32()),
            "probability that the picture is not safe for work, where it was scored",
        ),
        (pa.field("captions", pa.list_(_NAMED_TEXT)), "captions that the drop brought along, by their column"),
        _text("extra", "the drop's other columns, JSON"),
        *_OUTCOME_COLUMNS,
        _CRAWL_PARTITION,
    ],
    partition_by=("crawl_partition",),
    keys=("source_key", "source_uri"),
)

_CAPTION_COLUMNS = [
    _text("text", "the caption"),
    _text(
        "input_hash",
        "hash of all that the caption was made from: equal inputs are never computed twice",
        required=True,
    ),
    _text("finish_reason", "why the engine stopped: stop, length, or skipped where it was not asked"),
    (pa.field("token_count", pa.int32()), "tokens the engine produced"),
    _text("route", "how the text came about: engine, template, concept or alt_text"),
    _text("engine_text", "the engine's own words, before the guard"),
    *_OUTCOME_COLUMNS,
    _CRAWL_PARTITION,
    _ENGINE_ID,
]

CONCEPT_CAPTIONS = _table(
    "concept_captions",
    "what an image-text engine says of a picture, without having seen its AltText",
    [_text("image_sha256", "the picture", required=True), *_CAPTION_COLUMNS],
    partition_by=("crawl_partition", "engine_id"),
    keys=("image_sha256",),
)

VECAP = _table(
    "vecap",
    "AltText and concept caption of a sample, fused by a text engine",
    [
        _text("sample_id", "the sample", required=True),
        _text("concept_engine_id", "the engine whose concept caption was fused"),
        *_CAPTION_COLUMNS,
    ],
    partition_by=("crawl_partition", "engine_id"),
    keys=("sample_id",),
)

DUPLICATE_PAIRS = _table(
    "duplicate_pairs",
    "two perceptual hashes that are near, one of them of this partition's pictures",
    [
        _text("low", "the smaller of the two hashes, 16 hex", required=True),
        _text("high", "the larger", required=True),
        (pa.field("distance", pa.int32(), nullable=False), "bits in which they differ"),
        _CRAWL_PARTITION,
    ],
    partition_by=("crawl_partition",),
    keys=("low", "high"),
)

DUPLICATES = _table(
    "duplicates",
    "a sample whose picture another sample has too, the same or nearly",
    [
        _text("group_id", "the group's representative: its smallest sample_id", required=True),
        _text("sample_id", "the member", required=True),
        _text("exact_id", "smallest sample_id whose picture has the very same bytes", required=True),
        _text("image_sha256", "the member's picture", required=True),
        _text("phash", "its perceptual hash", required=True),
        (pa.field("distance", pa.int32(), nullable=False), "bits in which its hash differs from the representative's"),
    ],
    keys=("sample_id",),
)

ENGINES = _table(
    "engines",
    "what an engine_id stands for",
    [
        _text("engine_id", "32 hex over what changes an engine's words", required=True),
        _text("profile", "name of the engine profile", required=True),
        _text("kind", "the engine's class, by its registry name", required=True),
        _text("model", "hub id or folder name of the model", required=True),
        _text("revision", "revision of the model, where it has one"),
        _text("weights_sha256", "hash over the names and SHA-256 of the model's weight files"),
        _text("prompt_name", "prompt file and version"),
        _text("prompt_text", "the prompt's full text, examples included"),
        _text("decoding", "decoding settings, JSON", required=True),
        _text("code_version", "version of the step's code", required=True),
        _text("library_versions", "libraries at first use, JSON; recorded, not hashed", required=True),
        (pa.field("first_used_at", _TIME, nullable=False), "when it was first used"),
    ],
    keys=("engine_id",),
)

_WEIGHTED_TEXT = pa.struct(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("engine_id", pa.string()),
        pa.field("text", pa.string(), nullable=False),
    ]
)

TRAINING_SETS = _table(
    "training_sets",
    "a sample of a recipe's set",
    [
        _text("sample_id", "the sample", required=True),
        _text("image_sha256", "its picture", required=True),
        _text("crawl_partition", "where its row and its picture are", required=True),
        (pa.field("texts", pa.list_(_WEIGHTED_TEXT), nullable=False), "the texts that training draws from"),
        (
            pa.field("probabilities", pa.list_(pa.float64()), nullable=False),
            "the probability of each text, summing to 1",
        ),
        *_OUTCOME_COLUMNS,
        _text("recipe", "the recipe", required=True),
        _text("set_version", "hash of the recipe and of the versions of all its inputs", required=True),
    ],
    partition_by=("recipe", "set_version"),
    keys=("sample_id",),
)

CHECKPOINTS = _table(
    "checkpoints",
    "a trained CLIP model",
    [
        _text("checkpoint_id", "hash of training set version, training settings and code", required=True),
        _text("recipe", "the recipe it was trained by", required=True),
        _text("set_version", "the training set it was trained on", required=True),
        _text("uri", "folder with config.json, model.safetensors, tokenizer.json", required=True),
        _text("weights_sha256", "SHA-256 of model.safetensors", required=True),
        _text("mlflow_run_id", "its MLflow run", required=True),
        _text("settings", "model config and training settings, JSON", required=True),
        (pa.field("samples", pa.int64(), nullable=False), "samples in the set"),
        (pa.field("steps", pa.int64(), nullable=False), "optimiser steps"),
        (pa.field("final_loss", pa.float64(), nullable=False), "mean loss of the last tenth of the steps"),
        (pa.field("trained_at", _TIME, nullable=False), "when training ended"),
        _RUN_ID,
    ],
    keys=("checkpoint_id",),
)

BENCHMARK_SCORES = _table(
    "benchmark_scores",
    "one metric of one checkpoint on one benchmark",
    [
        _text("checkpoint_id", "the model", required=True),
        _text("recipe", "the recipe it was trained by", required=True),
        _text("benchmark", "the benchmark", required=True),
        _text("benchmark_sha256", "hash over the benchmark's pictures and captions", required=True),
        _text("metric", "image_to_text_recall@k or text_to_image_recall@k", required=True),
        (pa.field("value", pa.float64(), nullable=False), "between 0 and 1"),
        (pa.field("queries", pa.int64(), nullable=False), "number of queries"),
        _text("code_version", "version of the evaluation's code", required=True),
        (pa.field("scored_at", _TIME, nullable=False), "when it was scored"),
        _RUN_ID,
    ],
    keys=("checkpoint_id", "benchmark", "benchmark_sha256", "metric", "code_version"),
)

PROVENANCE = _table(
    "provenance",
    "what one materialisation read and wrote",
    [
        _text("partition", "the Dagster partition key", required=True),
        _text("run_id", "the Dagster run", required=True),
        _text("inputs", "versions of all that was read, JSON: equal inputs need no new run", required=True),
        _text("data_version", "hash of the rows that were written", required=True),
        (pa.field("delta_version", pa.int64()), "version of the table that holds them"),
        _text("files", "data files that hold them, JSON: path, bytes, rows; so that they can be put back"),
        (pa.field("rows_in", pa.int64(), nullable=False), "rows read"),
        (pa.field("rows_kept", pa.int64(), nullable=False), "rows kept"),
        (pa.field("rows_rejected", pa.int64(), nullable=False), "rows rejected"),
        (pa.field("seconds", pa.float64(), nullable=False), "wall time of the step's own work"),
        _text("code_version", "version of the step's code", required=True),
        _text("launched_by", "who launched the run", required=True),
        (pa.field("recorded_at", _TIME, nullable=False), "when"),
        _text("asset", "the asset", required=True),
    ],
    partition_by=("asset",),
    keys=("asset", "partition", "run_id"),
)

TABLES: dict[str, TableSpec] = {
    spec.name: spec
    for spec in (
        CRAWL_DROPS,
        RAW_CRAWL,
        CONCEPT_CAPTIONS,
        VECAP,
        DUPLICATE_PAIRS,
        DUPLICATES,
        ENGINES,
        TRAINING_SETS,
        CHECKPOINTS,
        BENCHMARK_SCORES,
        PROVENANCE,
    )
}
