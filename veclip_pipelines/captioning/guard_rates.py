"""How often each guard objected, partition by partition, and whether that has changed.

A captioner that was silently exchanged, a prompt with a typo, a crawl of another kind: each shows in these rates first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.provenance import Provenance, materialisations
from veclip_pipelines.tables.query import Asker, connect
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

    The deviation is that of the difference between the share among the new rows and the pooled share among the earlier
    ones.
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
        ask, names = Asker(connection), {"partition": partition, "engine": engine_id}
        (rows,) = ask.row(f"SELECT count(*) FROM {spec.name} WHERE {where}", names)  # noqa: S608
        faults = ask(
            f"SELECT unnest(faults) AS fault, count(*) AS n FROM {spec.name} WHERE {where} GROUP BY fault ORDER BY n DESC, fault",  # noqa: S608
            names,
        )
    return GuardCounts(partition, int(rows), {row["fault"]: row["n"] for row in faults})


def noted_counts(made: Provenance) -> GuardCounts:
    """What a materialisation noted; no rows if it noted none."""
    counts: dict[str, Any] = json.loads(made.guards) if made.guards else {"rows": 0, "faults": {}}
    return GuardCounts(made.partition, counts["rows"], counts["faults"])


def earlier_counts(warehouse: Warehouse, asset: str, partition: str, engine_id: str) -> list[GuardCounts]:
    """The newest materialisation of each of the last ten other partitions by the same engine, the newest first."""
    found = newest_counts(warehouse, asset, engine_id, NEWEST, but_partition=partition)
    return [counts for counts in found if counts.rows]


def newest_counts(
    warehouse: Warehouse, asset: str, engine_id: str, most: int, *, but_partition: str | None = None
) -> list[GuardCounts]:
    """What was noted by the newest materialisations of partitions by one engine, the newest first."""
    made = materialisations(
        warehouse, assets=[asset], engine=engine_id, with_guards=True, newest="partition", but_partition=but_partition, limit=most
    )  # fmt: skip
    return [noted_counts(one) for one in made]


def bands(now: GuardCounts, earlier: Sequence[GuardCounts]) -> list[Band]:
    """A band for each guard that objected now or before; none while there are too few partitions to tell."""
    if len(earlier) < FEWEST or not now.rows:
        return []
    rows = sum(counts.rows for counts in earlier)
    reasons = sorted({*now.faults, *(reason for counts in earlier for reason in counts.faults)})
    return [_band(reason, now, sum(counts.faults.get(reason, 0) for counts in earlier), rows) for reason in reasons]


def _band(reason: str, now: GuardCounts, before: int, rows: int) -> Band:
    # Half a row more on both sides: even a guard that never objected then has a band.
    expected = (before + 0.5) / (rows + 1)
    spread = _SIGMAS * math.sqrt(expected * (1 - expected) * (1 / now.rows + 1 / rows))
    rate = now.faults.get(reason, 0) / now.rows
    return Band(reason, rate, before / rows, max(0.0, expected - spread), min(1.0, expected + spread))
