"""The Delta tables: explicit Arrow schemas, so that a chunk of nulls never becomes a null-typed column.

A step's kept rows and its rejects stand in one table, told apart by ``outcome``, so that one commit holds both.
"""

from __future__ import annotations

import pyarrow as pa

from veclip_pipelines.tables.run_schemas import RUNS
from veclip_pipelines.tables.spec import TableSpec, table_spec, text_column
from veclip_pipelines.tables.takedown_schemas import ERASURES, EXPORTS, TAINTS, TAKEDOWNS, TOMBSTONES

KEPT = "kept"
REJECTED = "rejected"

_TIME = pa.timestamp("us", tz="UTC")
_OUTCOME = [
    pa.field("outcome", pa.string(), nullable=False),
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
]


_OUTCOME_COLUMNS = [
    (_OUTCOME[0], "kept, or rejected: the row could not be used by this step"),
    (_OUTCOME[1], "reason code of a reject; on a kept row the guard that made the step fall back"),
    (_OUTCOME[2], "what exactly was wrong"),
]
_CRAWL_PARTITION = text_column("crawl_partition", "the crawl partition: one crawl drop", required=True)
_ENGINE_ID = text_column(
    "engine_id", "hash of model, revision, prompt, decoding and code: see table engines", required=True
)
_RUN_ID = text_column("run_id", "the Dagster run that wrote the row")

_NAMED_TEXT = pa.struct([pa.field("name", pa.string(), nullable=False), pa.field("text", pa.string(), nullable=False)])

CRAWL_DROPS = table_spec(
    "crawl_drops",
    "a crawl drop as it was registered; the newest row of a partition is the one in force",
    [
        text_column("crawl_partition", "the crawl partition that the drop became", required=True),
        text_column("uri", "folder of the drop", required=True),
        text_column("format", "how the drop is laid out", required=True),
        text_column("fingerprint", "hash over the drop's file names and sizes", required=True),
        (pa.field("shards", pa.int64(), nullable=False), "number of shards"),
        (
            pa.field("entries", pa.int64()),
            "number of entries that the drop's own records name; none where it keeps no record",
        ),
        text_column("registered_by", "who registered it"),
        (pa.field("registered_at", _TIME, nullable=False), "when it was registered"),
        _RUN_ID,
        text_column(
            "state", "active; pinned: rolled back, and not to be replaced by itself; retired: taken out of use"
        ),
        text_column("label", "the data set, where its columns tell"),
    ],
    keys=("crawl_partition", "registered_at"),
)

RAW_CRAWL = table_spec(
    "raw_crawl",
    "an entry of the crawl that was read, kept or not",
    [
        text_column(
            "sample_id",
            "32 hex of SHA-256 over URL (or source key), raw AltText and image_sha256",
            required=True,
        ),
        text_column("image_sha256", "SHA-256 of the picture's bytes as they lie in the shard"),
        text_column("url", "where the picture was crawled from"),
        text_column("page_url", "the page that showed it"),
        text_column("alt_text", "the AltText after cleaning"),
        text_column("alt_text_raw", "the AltText as it came"),
        text_column("source_key", "the entry's key in its source", required=True),
        text_column("shard_uri", "the tar that holds the picture; none where there is no picture to hold"),
        (pa.field("image_offset", pa.int64()), "byte offset of the picture in the shard"),
        (pa.field("image_length", pa.int64()), "byte length of the picture"),
        text_column("media_type", "media type, read from the content and not from the name"),
        (pa.field("width", pa.int32()), "width in pixels, orientation applied"),
        (pa.field("height", pa.int32()), "height in pixels, orientation applied"),
        text_column("phash", "perceptual hash of the picture, 16 hex"),
        text_column("language", "language of the AltText (ISO 639), by fastText's lid.176"),
        (
            pa.field("flags", pa.list_(pa.string()), nullable=False),
            "what a recipe may filter on: empty, file_name, boilerplate, too_short, too_long, email, phone",
        ),
        text_column("source_uri", "file of the drop that the entry was read from"),
        text_column("final_url", "where a fetched picture was found after redirects, where that is not its url"),
        (pa.field("fetched_at", _TIME), "when the picture was fetched, where it was"),
        (pa.field("language_confidence", pa.float32()), "confidence of the language, 0 to 1"),
        (
            pa.field("nsfw_score", pa.float32()),
            "probability that the picture is not safe for work, where it was scored",
        ),
        (pa.field("captions", pa.list_(_NAMED_TEXT)), "captions that the drop brought along, by their column"),
        text_column("extra", "the drop's other columns, JSON"),
        text_column("url_host", "host of the url, in small letters: what a domain is looked up by"),
        text_column("page_host", "host of the page_url"),
        *_OUTCOME_COLUMNS,
        _CRAWL_PARTITION,
    ],
    partition_by=("crawl_partition",),
    keys=("source_key", "source_uri"),
    lookups=("sample_id", "image_sha256", "url"),
    hidden_by=("sample_id", "image_sha256"),
)

_CAPTION_COLUMNS = [
    text_column("text", "the caption"),
    text_column(
        "input_hash",
        "hash of all that the caption was made from: equal inputs are never computed twice",
        required=True,
    ),
    text_column("finish_reason", "why the engine stopped: stop, length, failed, or skipped where it was not asked"),
    (pa.field("token_count", pa.int32()), "tokens the engine produced, at its last attempt"),
    (pa.field("prompt_tokens", pa.int32()), "tokens the engine read, where it counts them"),
    text_column("route", "how the text came about: engine, template, concept, alt_text or imported"),
    text_column("engine_text", "the engine's own words at its last attempt, before the guards"),
    (pa.field("attempts", pa.int32()), "times the engine was asked; 0 where it was not"),
    (pa.field("faults", pa.list_(pa.string())), "reason codes of all guards that objected, over all attempts"),
    *_OUTCOME_COLUMNS,
    _CRAWL_PARTITION,
    _ENGINE_ID,
]

CONCEPT_CAPTIONS = table_spec(
    "concept_captions",
    "what an image-text engine says of a picture, without having seen its AltText",
    [text_column("image_sha256", "the picture", required=True), *_CAPTION_COLUMNS],
    partition_by=("crawl_partition", "engine_id"),
    keys=("image_sha256",),
    lookups=("image_sha256",),
    hidden_by=("image_sha256",),
)

VECAP = table_spec(
    "vecap",
    "AltText and concept caption of a sample, fused by a text engine",
    [
        text_column("sample_id", "the sample", required=True),
        text_column("concept_engine_id", "the engine whose concept caption was fused"),
        *_CAPTION_COLUMNS,
    ],
    partition_by=("crawl_partition", "engine_id"),
    keys=("sample_id",),
    lookups=("sample_id",),
    hidden_by=("sample_id",),
)

DUPLICATE_PAIRS = table_spec(
    "duplicate_pairs",
    "two perceptual hashes that are near, one of them of this partition's pictures",
    [
        text_column("low", "the smaller of the two hashes, 16 hex", required=True),
        text_column("high", "the larger", required=True),
        (pa.field("distance", pa.int32(), nullable=False), "bits in which they differ"),
        _CRAWL_PARTITION,
    ],
    partition_by=("crawl_partition",),
    keys=("low", "high"),
)

DUPLICATES = table_spec(
    "duplicates",
    "a sample whose picture another sample has too, the same or nearly",
    [
        text_column("group_id", "the group's representative: its smallest sample_id", required=True),
        text_column("sample_id", "the member", required=True),
        text_column("exact_id", "smallest sample_id whose picture has the very same bytes", required=True),
        text_column("image_sha256", "the member's picture", required=True),
        text_column("phash", "its perceptual hash", required=True),
        (pa.field("distance", pa.int32(), nullable=False), "bits in which its hash differs from the representative's"),
    ],
    keys=("sample_id",),
    lookups=("image_sha256", "group_id"),
    hidden_by=("sample_id", "image_sha256"),
)

ENGINES = table_spec(
    "engines",
    "what an engine_id stands for",
    [
        text_column("engine_id", "32 hex over what changes an engine's words", required=True),
        text_column("profile", "name of the engine profile", required=True),
        text_column("kind", "the engine's class, by its registry name", required=True),
        text_column("model", "hub id or folder name of the model", required=True),
        text_column("revision", "revision of the model, where it has one"),
        text_column("weights_sha256", "hash over the names and SHA-256 of the model's weight files"),
        text_column("prompt_name", "prompt file and version"),
        text_column("prompt_text", "the prompt's full text, examples included"),
        text_column("decoding", "decoding settings, JSON", required=True),
        text_column("code_version", "version of the step's code", required=True),
        text_column("library_versions", "libraries at first use, JSON; recorded, not hashed", required=True),
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

TRAINING_SETS = table_spec(
    "training_sets",
    "a sample of a recipe's set",
    [
        text_column("sample_id", "the sample", required=True),
        text_column("image_sha256", "its picture", required=True),
        text_column("crawl_partition", "where its row and its picture are", required=True),
        (pa.field("texts", pa.list_(_WEIGHTED_TEXT), nullable=False), "the texts that training draws from"),
        (
            pa.field("probabilities", pa.list_(pa.float64()), nullable=False),
            "the probability of each text, summing to 1",
        ),
        text_column("part", "the recipe's part that took it: main, or a further data set's name"),
        (pa.field("weight", pa.float64()), "times that it is seen an epoch, on average"),
        *_OUTCOME_COLUMNS,
        text_column("recipe", "the recipe", required=True),
        text_column("set_version", "hash of the recipe and of the versions of all its inputs", required=True),
    ],
    partition_by=("recipe", "set_version"),
    keys=("sample_id",),
    lookups=("sample_id",),
    hidden_by=("sample_id", "image_sha256"),
)

SET_PINS = table_spec(
    "set_pins",
    "what a training set was made from, exactly: with these data files and this recipe it is made again byte for byte",
    [
        text_column("recipe", "the recipe", required=True),
        text_column("set_version", "the set", required=True),
        text_column("mix", "the recipe's parts and the engine_id of each text, JSON", required=True),
        text_column("inputs", "version of each input, JSON: the set's version is their hash", required=True),
        text_column("files", "of each table: its Delta version and the data files that were read, JSON", required=True),
        text_column("content_version", "hash of the set's rows", required=True),
        text_column(
            "rebuilt_version", "after a takedown: hash of what the set's pins give now; none where nothing was taken"
        ),
        (pa.field("takedowns", pa.list_(pa.string())), "the takedowns that took samples out of it"),
        (pa.field("pinned_at", _TIME, nullable=False), "when"),
        _RUN_ID,
    ],
    keys=("recipe", "set_version"),
)

SET_FIGURES = table_spec(
    "set_figures",
    "a figure about a training set: rows by part, lengths, vocabulary",
    [
        text_column("figure", "what is counted", required=True),
        text_column("of", "of what: a part, a source of texts, a reason; all", required=True),
        (pa.field("value", pa.float64(), nullable=False), "the figure"),
        text_column("recipe", "the recipe", required=True),
        text_column("set_version", "the set", required=True),
    ],
    partition_by=("recipe", "set_version"),
    keys=("figure", "of"),
)

CHECKPOINTS = table_spec(
    "checkpoints",
    "a trained CLIP model",
    [
        text_column("checkpoint_id", "hash of training set version, training settings and code", required=True),
        text_column("recipe", "the recipe it was trained by", required=True),
        text_column("set_version", "the training set it was trained on", required=True),
        text_column("uri", "folder with config.json, model.safetensors, tokenizer.json", required=True),
        text_column("weights_sha256", "SHA-256 of model.safetensors", required=True),
        text_column("mlflow_run_id", "its MLflow run", required=True),
        text_column("settings", "model config and training settings, JSON", required=True),
        (pa.field("samples", pa.int64(), nullable=False), "samples in the set"),
        (pa.field("steps", pa.int64(), nullable=False), "optimiser steps"),
        (pa.field("final_loss", pa.float64(), nullable=False), "mean loss of the last tenth of the steps"),
        (pa.field("trained_at", _TIME, nullable=False), "when training ended"),
        _RUN_ID,
    ],
    keys=("checkpoint_id",),
)

BENCHMARK_SCORES = table_spec(
    "benchmark_scores",
    "one metric of one checkpoint on one benchmark",
    [
        text_column("checkpoint_id", "the model", required=True),
        text_column("recipe", "the recipe it was trained by", required=True),
        text_column("benchmark", "the benchmark", required=True),
        text_column("benchmark_sha256", "hash over the benchmark's pictures and texts", required=True),
        text_column(
            "metric",
            "image_to_text_recall@k, text_to_image_recall@k; acc@1, acc@5, mean_per_class_recall",
            required=True,
        ),
        (pa.field("value", pa.float64(), nullable=False), "between 0 and 1"),
        (pa.field("low", pa.float64()), "lower end of its 95 % bootstrap interval"),
        (pa.field("high", pa.float64()), "upper end"),
        (pa.field("queries", pa.int64(), nullable=False), "number of queries"),
        text_column("code_version", "version of the evaluation's code", required=True),
        (pa.field("scored_at", _TIME, nullable=False), "when it was scored"),
        _RUN_ID,
    ],
    keys=("checkpoint_id", "benchmark", "benchmark_sha256", "metric", "code_version"),
)

PROVENANCE = table_spec(
    "provenance",
    "what one materialisation read and wrote",
    [
        text_column("partition", "the Dagster partition key", required=True),
        text_column("run_id", "the Dagster run", required=True),
        text_column("inputs", "versions of all that was read, JSON: equal inputs need no new run", required=True),
        text_column("data_version", "hash of the rows that were written", required=True),
        (pa.field("delta_version", pa.int64()), "version of the table that holds them"),
        text_column("files", "data files that hold them, JSON: path, bytes, rows; so that they can be put back"),
        (pa.field("rows_in", pa.int64(), nullable=False), "rows read"),
        (pa.field("rows_kept", pa.int64(), nullable=False), "rows kept"),
        (pa.field("rows_rejected", pa.int64(), nullable=False), "rows rejected"),
        (pa.field("seconds", pa.float64(), nullable=False), "wall time of the step's own work"),
        text_column("code_version", "version of the step's code", required=True),
        text_column("launched_by", "who launched the run", required=True),
        text_column("guards", "of captions: rows, and how many of them each guard objected to, JSON"),
        (pa.field("recorded_at", _TIME, nullable=False), "when"),
        text_column("asset", "the asset", required=True),
    ],
    partition_by=("asset",),
    # A run may write the captions of several engines.
    keys=("asset", "partition", "run_id", "data_version"),
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
        SET_PINS,
        SET_FIGURES,
        CHECKPOINTS,
        BENCHMARK_SCORES,
        PROVENANCE,
        EXPORTS,
        TAKEDOWNS,
        TOMBSTONES,
        ERASURES,
        TAINTS,
        RUNS,
    )
}
