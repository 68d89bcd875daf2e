"""What the pages of rejects, duplicates and guards show, read from the warehouse."""

from __future__ import annotations

from typing import Any

from veclip_pipelines.captioning.guard_rates import NEWEST, GuardCounts, newest_counts
from veclip_pipelines.stages import STAGES
from veclip_pipelines.tables.provenance import newest_engine
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

_SHOWN = 5
#: Partitions whose rates are plotted: this one and the ten that its band is made from.
_PLOTTED = NEWEST + 1


def rejects_of(warehouse: Warehouse, partition: str) -> list[dict[str, Any]]:
    """Rejects of a crawl partition by stage and reason, with examples of each: row_key and detail."""
    return read_rows(
        warehouse,
        "SELECT stage, reason, count(*) AS rows, list({'row_key': row_key, 'detail': detail} ORDER BY row_key)[1:$n] AS examples "
        "FROM rejects WHERE partition_key = $key AND stage <> 'training_sets' GROUP BY ALL ORDER BY stage, rows DESC, reason",
        {"n": _SHOWN, "key": partition},
    )


def duplicate_sizes(warehouse: Warehouse) -> dict[int, int]:
    """Number of duplicate groups by their number of members."""
    rows = read_rows(
        warehouse,
        "SELECT members, count(*) AS groups FROM (SELECT count(*) AS members FROM duplicates GROUP BY group_id) "
        "GROUP BY members ORDER BY members",
        tables=["duplicates"],
    )
    return {int(row["members"]): int(row["groups"]) for row in rows}


def largest_groups(warehouse: Warehouse, limit: int) -> list[dict[str, Any]]:
    """The largest duplicate groups with some of their members."""
    return read_rows(
        warehouse,
        "SELECT group_id, count(*) AS members, list({'sample_id': sample_id, 'exact_id': exact_id, 'image_sha256': image_sha256, "
        "'distance': distance} ORDER BY sample_id)[1:$n] AS shown FROM duplicates GROUP BY group_id "
        "ORDER BY members DESC, group_id LIMIT $limit",
        {"n": _SHOWN, "limit": limit},
        tables=["duplicates"],
    )


def guard_examples(warehouse: Warehouse, asset: str, partition: str) -> list[dict[str, Any]]:
    """For each guard that objected to rows of the newest engine: how many, and some examples with the engine's answer."""
    key = STAGES[asset].describes
    return read_rows(
        warehouse,
        f"WITH judged AS (SELECT unnest(faults) AS fault, {key} AS row_key, engine_text, text, route, reason, detail "  # noqa: S608
        f"FROM {asset} WHERE crawl_partition = $key AND engine_id = $engine) "
        "SELECT fault, count(*) AS rows, list({'row_key': row_key, 'engine_text': engine_text, 'text': text, 'route': route, "
        "'reason': reason, 'detail': detail} ORDER BY row_key)[1:$n] AS examples FROM judged GROUP BY fault ORDER BY rows DESC, fault",
        {"key": partition, "engine": newest_engine(warehouse, asset, partition), "n": _SHOWN},
        tables=[asset],
    )


def guard_history(warehouse: Warehouse, asset: str, partition: str) -> list[GuardCounts]:
    """Rows and faults of the newest partitions of the same engine, the oldest first: what the plot shows."""
    newest = newest_counts(warehouse, asset, newest_engine(warehouse, asset, partition), _PLOTTED)
    return list(reversed(newest))
