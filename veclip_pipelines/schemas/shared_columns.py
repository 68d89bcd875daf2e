"""Columns that several tables have, and the two outcomes of a row."""

from __future__ import annotations

import pyarrow as pa

from veclip_pipelines.schemas.spec import text_column

KEPT = "kept"
REJECTED = "rejected"

TIME = pa.timestamp("us", tz="UTC")
_OUTCOME = [
    pa.field("outcome", pa.string(), nullable=False),
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
]


OUTCOME_COLUMNS = [
    (_OUTCOME[0], "kept, or rejected: the row could not be used by this step"),
    (_OUTCOME[1], "reason code of a reject; on a kept row the guard that made the step fall back"),
    (_OUTCOME[2], "what exactly was wrong"),
]
CRAWL_PARTITION = text_column("crawl_partition", "the crawl partition: one crawl drop", required=True)
ENGINE_ID = text_column(
    "engine_id", "hash of model, revision, prompt, decoding and code: see table engines", required=True
)
RUN_ID = text_column("run_id", "the Dagster run that wrote the row")
