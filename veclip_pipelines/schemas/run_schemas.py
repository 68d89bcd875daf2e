"""The table of Dagster runs that were pruned: what the lineage needs of them when Dagster has forgotten them."""

from __future__ import annotations

import pyarrow as pa

from veclip_pipelines.schemas.spec import table_spec, text_column

_TIME = pa.timestamp("us", tz="UTC")

RUNS = table_spec(
    "runs",
    "a Dagster run that ended, written down before its record in Dagster was removed",
    [
        text_column("run_id", "the Dagster run", required=True),
        text_column("job", "its job", required=True),
        text_column("status", "SUCCESS, FAILURE or CANCELED", required=True),
        text_column("partition", "its partition key, where it had one"),
        text_column("launched_by", "who launched it", required=True),
        text_column("tags", "its tags, JSON", required=True),
        text_column("run_config", "its configuration, JSON", required=True),
        text_column("steps", "seconds of each step that succeeded, none of one that failed, JSON", required=True),
        (
            pa.field("materialised", pa.list_(pa.string()), nullable=False),
            "what it materialised: asset/partition@data version",
        ),
        (pa.field("created_at", _TIME, nullable=False), "when it was launched"),
        (pa.field("started_at", _TIME), "when it began"),
        (pa.field("ended_at", _TIME), "when it ended"),
        (pa.field("exported_at", _TIME, nullable=False), "when it was written down here"),
    ],
    keys=("run_id",),
)
