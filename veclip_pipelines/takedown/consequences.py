"""A takedown's report: what was removed where, what still holds it and until when, what was trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.register import Takedown

_ORDER = ("table", "pins", "shard", "source", "export", "training", "plan", "checkpoint", "old_file")


@dataclass(frozen=True)
class Step:
    """What was done in one place."""

    step: str
    place: str
    state: str
    what: str
    count: int
    until: datetime | None
    done_at: datetime

    @property
    def told(self) -> str:
        """The state in words."""
        if self.until is not None and self.state == "held":
            return f"held until {self.until:%Y-%m-%d %H:%M}"
        return {"not_ours": "NOT OURS"}.get(self.state, self.state)


@dataclass(frozen=True)
class Taint:
    """A checkpoint that was trained on what was taken out."""

    recipe: str
    checkpoint_id: str
    samples: int
    seen: int
    scores: int


@dataclass(frozen=True)
class Report:
    """All of a takedown.

    Attributes:
        samples, pictures: that were taken out. scores: rows of benchmark_scores of tainted checkpoints.
        is_finished: whether all was done that could be done when it ran last.
    """

    takedown: Takedown
    samples: int
    pictures: int
    steps: tuple[Step, ...]
    taints: tuple[Taint, ...]
    is_finished: bool

    @property
    def scores(self) -> int:
        return sum(taint.scores for taint in self.taints)


def report_of(warehouse: Warehouse, takedown: Takedown) -> Report:
    """What the tables know of a takedown."""
    given = [takedown.takedown_id]
    (counts,) = read_rows(
        warehouse,
        "SELECT count(DISTINCT sample_id) AS samples, count(DISTINCT image_sha256) AS pictures FROM tombstones WHERE takedown_id = ?",
        given,
        tables=["tombstones"],
    )
    rows = read_rows(
        warehouse,
        "SELECT step, place, state, what, count, until, done_at FROM erasures WHERE takedown_id = ? ORDER BY place",
        given,
        tables=["erasures"],
    )
    steps = [Step(**row) for row in rows if row["step"] in _ORDER]
    taints = read_rows(
        warehouse,
        "SELECT t.recipe, t.checkpoint_id, count(*) AS samples, coalesce(sum(t.seen), 0)::BIGINT AS seen, "
        "(SELECT count(*) FROM benchmark_scores s WHERE s.checkpoint_id = t.checkpoint_id) AS scores "
        "FROM taints t WHERE t.takedown_id = ? GROUP BY ALL ORDER BY ALL",
        given,
        tables=["taints", "benchmark_scores"],
    )
    return Report(
        takedown,
        counts["samples"],
        counts["pictures"],
        tuple(sorted(steps, key=lambda step: (_ORDER.index(step.step), step.place))),
        tuple(Taint(**row) for row in taints),
        any(row["step"] == "finished" for row in rows),
    )
