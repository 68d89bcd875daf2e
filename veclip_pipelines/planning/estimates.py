"""What a backfill will take: rows, hours and storage, by the rates measured here so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from veclip_pipelines.stages import tables
from veclip_pipelines.tables.provenance import materialisations
from veclip_pipelines.tables.warehouse import Warehouse

_NEWEST = 20


@dataclass(frozen=True)
class Rate:
    """Rates of one asset: rows per second over its newest materialisations, bytes per row, and the share of rows that it keeps."""

    rows_per_second: float
    bytes_per_row: float
    kept_share: float
    materialisations: int


@dataclass(frozen=True)
class Estimate:
    """The estimate for one asset of a backfill. None: unknown until it has run once."""

    asset: str
    partitions: int
    rows: int | None
    hours: float | None
    gigabytes: float | None
    measured_on: int


def measured_rate(warehouse: Warehouse, asset: str) -> Rate | None:
    """The rate of an asset, None if it was never materialised. A materialisation that changed nothing does not count."""
    made = [one for one in materialisations(warehouse, assets=[asset]) if one.rows_in > 0 and one.seconds > 0]
    # Of equal contents the first: the others found everything done.
    first = {(one.partition, one.data_version): place for place, one in enumerate(made)}
    newest = [made[place] for place in sorted(first.values())[:_NEWEST]]
    if not newest:
        return None
    table = warehouse.open(tables()[asset])
    size = rows = 0
    if table is not None:
        actions = pa.table(table.get_add_actions(flatten=True))
        size, rows = sum(actions["size_bytes"].to_pylist()), sum(actions["num_records"].to_pylist())
    rows_in = sum(one.rows_in for one in newest)
    return Rate(
        rows_in / sum(one.seconds for one in newest),
        size / rows if rows else 0.0,
        sum(one.rows_kept for one in newest) / rows_in,
        len(newest),
    )


def estimate(
    warehouse: Warehouse,
    order: Sequence[str],
    partitions: Mapping[str, Sequence[str]],
    entries: Mapping[str, int | None],
) -> list[Estimate]:
    """The estimate for a backfill, asset by asset.

    Args:
        order: assets, upstream first.
        partitions: for each asset the partitions to materialise.
        entries: entries of each partition's drop, None where it keeps no record of them.
    """
    found = []
    kept = 1.0
    for asset in order:
        keys = partitions.get(asset, ())
        rate = measured_rate(warehouse, asset)
        if keys:
            known = [entries.get(key) for key in keys]
            rows = None if None in known else round(sum(count or 0 for count in known) * kept)
            hours = rows / rate.rows_per_second / 3600 if rate and rows is not None else None
            size = rows * rate.bytes_per_row / 1e9 if rate and rows is not None else None
            found.append(Estimate(asset, len(keys), rows, hours, size, rate.materialisations if rate else 0))
        # Downstream assets get only the rows that this one keeps.
        kept *= rate.kept_share if rate and asset == "raw_crawl" else 1.0
    return found
