"""The tables of takedowns: what is to be left out, which rows that is, what was done about it, and whom it touched.

They hold no text and no picture, only hashes of them: they are what keeps a picture out for good.
"""

from __future__ import annotations

import pyarrow as pa

from veclip_pipelines.schemas.spec import table_spec, text_column

_TIME = pa.timestamp("us", tz="UTC")
_TAKEDOWN = text_column("takedown_id", "the takedown", required=True)

EXPORTS = table_spec(
    "exports",
    "a training set that was written out in the format of others: where a takedown must reach",
    [
        text_column("recipe", 'the recipe; "" of a page that is of no set', required=True),
        text_column("set_version", "the set", required=True),
        text_column(
            "format", "webdataset, datacomp or huggingface; page: an HTML file with some of its samples", required=True
        ),
        text_column("uri", "folder or file that holds it", required=True),
        (pa.field("exported_at", _TIME, nullable=False), "when the first export into it began"),
        text_column("exported_by", "who", required=True),
    ],
    keys=("recipe", "set_version", "format", "uri"),
)

TAKEDOWNS = table_spec(
    "takedowns",
    "a picture, URL or domain to leave out, now and in every crawl to come",
    [
        _TAKEDOWN,
        text_column("kind", "url (of a picture or of its page), domain, sha256, or near", required=True),
        text_column("value", "the URL, the host, the SHA-256, or a perceptual hash (16 hex)", required=True),
        (pa.field("distance", pa.int32(), nullable=False), "of near: bits in which another's hash may differ; else 0"),
        text_column("requested_by", "who asked for it", required=True),
        text_column("reason", "why", required=True),
        (pa.field("requested_at", _TIME, nullable=False), "when"),
        (
            pa.field("erase_after", _TIME, nullable=False),
            "until when earlier contents of the tables are kept, hidden from all readers",
        ),
    ],
    keys=("takedown_id", "kind", "value"),
)

TOMBSTONES = table_spec(
    "tombstones",
    "a row of raw_crawl that a takedown takes out, with where its picture lies; no reader sees the sample or the picture from then on",
    [
        text_column("sample_id", "the sample", required=True),
        text_column("image_sha256", "its picture, where it had one"),
        text_column("phash", "its perceptual hash"),
        text_column("crawl_partition", "the crawl partition that it stood in", required=True),
        text_column("source_key", "its key in its source", required=True),
        text_column("source_uri", "the file of the drop that it was read from"),
        text_column("shard_uri", "the tar that holds its picture"),
        (pa.field("image_offset", pa.int64()), "byte offset of the picture there"),
        (pa.field("image_length", pa.int64()), "byte length"),
        text_column("uid", "its uid in DataComp's sense", required=True),
        text_column(
            "matched_by",
            "url, domain, sha256, near, same_picture; kept_out: it came again and was not let in",
            required=True,
        ),
        (pa.field("distance", pa.int32(), nullable=False), "bits in which its hash differs from what was asked for"),
        (
            pa.field("texts", pa.list_(pa.string()), nullable=False),
            "fingerprints of its AltText and captions: number of words, and a hash (takedown/fingerprints.py)",
        ),
        _TAKEDOWN,
    ],
    partition_by=("takedown_id",),
    keys=("sample_id", "crawl_partition", "source_uri", "shard_uri"),
    lookups=("sample_id", "image_sha256"),
)

ERASURES = table_spec(
    "erasures",
    "what a takedown did in one place, or found that it could not do",
    [
        text_column(
            "step", "table, pins, shard, source, export, training, plan, checkpoint or old_file", required=True
        ),
        text_column("place", "table and file, tar, export or checkpoint", required=True),
        text_column(
            "state", "removed; held: until a time; not_ours: cannot be changed from here; tainted", required=True
        ),
        text_column("what", "in words"),
        (pa.field("count", pa.int64(), nullable=False), "rows, pictures or files"),
        (pa.field("until", _TIME), "of what is held: until when"),
        (pa.field("done_at", _TIME, nullable=False), "when it was found so last"),
        text_column("run_id", "the Dagster run"),
        _TAKEDOWN,
    ],
    partition_by=("takedown_id",),
    keys=("step", "place"),
)

TAINTS = table_spec(
    "taints",
    "a sample that was taken out, and a checkpoint that had been trained on it",
    [
        text_column("checkpoint_id", "the checkpoint", required=True),
        text_column("recipe", "its recipe", required=True),
        text_column("sample_id", "the sample", required=True),
        text_column("image_sha256", "its picture"),
        (pa.field("seen", pa.int64()), "times that training showed it; none where no record was kept"),
        (pa.field("expected", pa.float64()), "times that it was to be shown"),
        _TAKEDOWN,
    ],
    partition_by=("takedown_id",),
    keys=("checkpoint_id", "sample_id"),
)
