"""What a backfill will take: rows, hours and storage, by the rates that were measured here so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from veclip_pipelines.schemas.crawl_schemas import TABLES
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

_NEWEST = 20


@dataclass(frozen=True)
class Rate:
    """Of one asset: rows a second over its newest materialisations, bytes a row, and the share of rows that it keeps."""

    rows_per_second: float
    bytes_per_row: float
    kept_share: float
    materialisations: int


@dataclass(frozen=True)
class Estimate:
    """What one asset of a backfill comes to. None: not known before it has run once."""

    asset: str
    partitions: int
    rows: int | None
    hours: float | None
    gigabytes: float | None
    measured_on: int


def measured_rate(warehouse: Warehouse, asset: str) -> Rate | None:
    """The rate of an asset, None where it was never materialised. A materialisation that changed nothing does not count."""
    found = read_rows(
        warehouse,
        "WITH first AS (SELECT * FROM provenance WHERE asset = $asset AND rows_in > 0 AND seconds > 0 "
        "QUALIFY row_number() OVER (PARTITION BY partition, data_version ORDER BY recorded_at) = 1), "
        "newest AS (SELECT * FROM first ORDER BY recorded_at DESC LIMIT $newest) "
        "SELECT sum(rows_in) AS rows_in, sum(rows_kept) AS kept, sum(seconds) AS seconds, count(*) AS n FROM newest",
        {"asset": asset, "newest": _NEWEST},
        tables=["provenance"],
    )[0]
    if not found["n"]:
        return None
    table = warehouse.open(TABLES[asset])
    size = rows = 0
    if table is not None:
        actions = pa.table(table.get_add_actions(flatten=True))
        size, rows = sum(actions["size_bytes"].to_pylist()), sum(actions["num_records"].to_pylist())
    return Rate(
        float(found["rows_in"]) / float(found["seconds"]),
        size / rows if rows else 0.0,
        float(found["kept"]) / float(found["rows_in"]),
        int(found["n"]),
    )


def estimate(
    warehouse: Warehouse,
    order: Sequence[str],
    partitions: Mapping[str, Sequence[str]],
    entries: Mapping[str, int | None],
) -> list[Estimate]:
    """What a backfill comes to, asset by asset.

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
        # What is downstream sees only the rows that this one keeps.
        kept *= rate.kept_share if rate and asset == "raw_crawl" else 1.0
    return found
