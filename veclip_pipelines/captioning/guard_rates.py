"""How often each guard objected, partition by partition, and whether that is still what it was.

A captioner that is silently another one, a prompt with a typo, a crawl of another kind: each shows in these rates first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.query import connect, read_rows
from veclip_pipelines.tables.warehouse import Warehouse

#: Partitions that a band is made from, and the fewest of them.
NEWEST, FEWEST = 10, 3
_SIGMAS = 3.0


@dataclass(frozen=True)
class GuardCounts:
    """Of one partition's rows of one engine: how many guards objected to, by reason code."""

    partition: str
    rows: int
    faults: Mapping[str, int]

    def as_json(self) -> str:
        return json.dumps({"rows": self.rows, "faults": dict(self.faults)}, sort_keys=True)


@dataclass(frozen=True)
class Band:
    """Where a rate is expected: the pooled rate of earlier partitions and three standard deviations around it.

    The deviation is that of the difference between a share of this many new rows and the pooled one of so many earlier rows.
    """

    reason: str
    rate: float
    expected: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        return self.low <= self.rate <= self.high


def guard_counts(warehouse: Warehouse, spec: TableSpec, partition: str, engine_id: str) -> GuardCounts:
    """Counted from the table's rows."""
    with connect(warehouse, [spec.name]) as connection:
        where = "crawl_partition = $partition AND engine_id = $engine"
        parameters = {"partition": partition, "engine": engine_id}
        rows = connection.execute(f"SELECT count(*) FROM {spec.name} WHERE {where}", parameters).fetchone()  # noqa: S608
        faults = connection.execute(
            f"SELECT unnest(faults) AS fault, count(*) AS n FROM {spec.name} WHERE {where} GROUP BY fault ORDER BY n DESC, fault",  # noqa: S608
            parameters,
        ).fetchall()
    assert rows is not None
    return GuardCounts(partition, int(rows[0]), dict(faults))


def earlier_counts(warehouse: Warehouse, asset: str, partition: str, engine_id: str) -> list[GuardCounts]:
    """The newest materialisation of each of the last ten other partitions by the same engine, the newest first."""
    rows = read_rows(
        warehouse,
        "SELECT partition, guards FROM (SELECT * FROM provenance WHERE asset = $asset AND partition <> $partition "
        "AND guards IS NOT NULL AND json_extract_string(inputs, '$.engine') = $engine "
        "QUALIFY row_number() OVER (PARTITION BY partition ORDER BY recorded_at DESC) = 1) ORDER BY recorded_at DESC LIMIT $newest",
        {"asset": asset, "partition": partition, "engine": engine_id, "newest": NEWEST},
        tables=["provenance"],
    )
    return [
        GuardCounts(row["partition"], counts["rows"], counts["faults"])
        for row in rows
        if (counts := json.loads(row["guards"]))["rows"]
    ]


def bands(now: GuardCounts, earlier: Sequence[GuardCounts]) -> list[Band]:
    """A band for each guard that objected now or before; none while there are too few partitions to tell."""
    if len(earlier) < FEWEST or not now.rows:
        return []
    rows = sum(counts.rows for counts in earlier)
    reasons = sorted({*now.faults, *(reason for counts in earlier for reason in counts.faults)})
    return [_band(reason, now, sum(counts.faults.get(reason, 0) for counts in earlier), rows) for reason in reasons]


def _band(reason: str, now: GuardCounts, before: int, rows: int) -> Band:
    # Half a row more on both sides: a guard that never objected has a band all the same.
    expected = (before + 0.5) / (rows + 1)
    spread = _SIGMAS * math.sqrt(expected * (1 - expected) * (1 / now.rows + 1 / rows))
    rate = now.faults.get(reason, 0) / now.rows
    return Band(reason, rate, before / rows, max(0.0, expected - spread), min(1.0, expected + spread))
