"""The Delta tables: explicit Arrow schemas, so that a chunk of nulls never becomes a null-typed column.

A step's kept rows and its rejects stand in one table, told apart by ``outcome``, so that one commit holds both.
"""

from __future__ import annotations

import pyarrow as pa

from veclip_pipelines.schemas.run_schemas import RUNS
from veclip_pipelines.schemas.shared_columns import (
    CRAWL_PARTITION,
    ENGINE_ID,
    OUTCOME_COLUMNS,
    RUN_ID,
    TIME,
)
from veclip_pipelines.schemas.spec import TableSpec, table_spec, text_column
from veclip_pipelines.schemas.takedown_schemas import ERASURES, EXPORTS, TAINTS, TAKEDOWNS, TOMBSTONES
from veclip_pipelines.schemas.training_schemas import (
    BENCHMARK_SCORES,
    CHECKPOINTS,
    SET_FIGURES,
    SET_PINS,
    TRAINING_SETS,
)

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
        (pa.field("registered_at", TIME, nullable=False), "when it was registered"),
        RUN_ID,
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
        (pa.field("fetched_at", TIME), "when the picture was fetched, where it was"),
        (pa.field("language_confidence", pa.float32()), "confidence of the language, 0 to 1"),
        (
            pa.field("nsfw_score", pa.float32()),
            "probability that the picture is not safe for work, where it was scored",
        ),
        (pa.field("captions", pa.list_(_NAMED_TEXT)), "captions that the drop brought along, by their column"),
        text_column("extra", "the drop's other columns, JSON"),
        text_column("url_host", "host of the url, in small letters: what a domain is looked up by"),
        text_column("page_host", "host of the page_url"),
        *OUTCOME_COLUMNS,
        CRAWL_PARTITION,
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
    *OUTCOME_COLUMNS,
    CRAWL_PARTITION,
    ENGINE_ID,
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
        CRAWL_PARTITION,
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
        (pa.field("first_used_at", TIME, nullable=False), "when it was first used"),
    ],
    keys=("engine_id",),
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
        (pa.field("recorded_at", TIME, nullable=False), "when"),
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
