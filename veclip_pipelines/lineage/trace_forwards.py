"""What a trace is, and its way forwards: sets, checkpoints, scores, takedowns, and how often a sample was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from veclip_pipelines.lineage.questions import Question
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.tables.query import Asker
from veclip_pipelines.training.exposures import times_shown

Row = dict[str, Any]


@dataclass
class Trace:
    """What the tables know of a question.

    Attributes:
        rows: of the crawl that it is about, kept or not; ``samples`` has the first of them with all that was made of them.
        near: other pictures that are the same or nearly, as asset duplicates found them.
        partitions: crawl partitions with their drop and the rows in question.
        engines: those that made a text in question, with model, revision, prompt and decoding.
        sets: training sets that took any of the rows, with how many.
        checkpoints, scores: what was trained on those sets, and scored; of each checkpoint the samples that were taken down since.
        takedowns: those that ask for it or took any of it out.
    """

    question: Question
    rows: int = 0
    samples: list[Row] = field(default_factory=list)
    near: list[Row] = field(default_factory=list)
    partitions: list[Row] = field(default_factory=list)
    engines: list[Row] = field(default_factory=list)
    sets: list[Row] = field(default_factory=list)
    checkpoints: list[Row] = field(default_factory=list)
    scores: list[Row] = field(default_factory=list)
    takedowns: list[Row] = field(default_factory=list)

    def is_empty(self) -> bool:
        return not (
            self.rows or self.near or self.engines or self.sets or self.checkpoints or self.scores or self.takedowns
        )


def forwards(ask: Asker, found: Trace) -> None:
    """Pins of the sets; checkpoints of the sets and scores of the checkpoints, where the question did not name them."""
    names = names_of(found.sets)
    pins = {
        (row["recipe"], row["set_version"]): row
        for row in ask(
            "SELECT recipe, set_version, content_version, inputs, pinned_at, run_id FROM set_pins "
            "WHERE recipe || '@' || set_version IN (SELECT unnest($names))",
            names=names,
        )
    }
    for row in found.sets:
        row.update(pins.get((row["recipe"], row["set_version"]), {}))
    if not found.checkpoints:
        found.checkpoints = ask(
            "SELECT * FROM checkpoints WHERE recipe || '@' || set_version IN (SELECT unnest($names)) ORDER BY trained_at",
            names=names,
        )
    if not found.scores:
        found.scores = ask(
            "SELECT * FROM benchmark_scores WHERE checkpoint_id IN (SELECT unnest($ids)) "
            "QUALIFY row_number() OVER (PARTITION BY checkpoint_id, benchmark, metric ORDER BY scored_at DESC) = 1 "
            "ORDER BY recipe, benchmark, metric",
            ids=[row["checkpoint_id"] for row in found.checkpoints],
        )


def add_takedowns(ask: Asker, found: Trace) -> None:
    """Takedowns of what is asked about, and what the checkpoints were trained on of what is gone by now."""
    found.takedowns = ask(
        "SELECT takedown_id, any_value(requested_by) AS requested_by, any_value(requested_at) AS requested_at, any_value(reason) AS reason "
        "FROM takedowns WHERE (kind <> 'near' AND value = $v) OR takedown_id IN (SELECT takedown_id FROM tombstones "
        "WHERE $v IN (sample_id, image_sha256) OR sample_id IN (SELECT unnest($ids))) GROUP BY 1 ORDER BY requested_at",
        v=found.question.value,
        ids=[row["sample_id"] for row in found.samples],
    )
    tainted = {
        row["checkpoint_id"]: row
        for row in ask(
            "SELECT checkpoint_id, count(DISTINCT sample_id) AS samples, sum(seen)::BIGINT AS seen, "
            "list(DISTINCT takedown_id ORDER BY takedown_id) AS takedowns FROM taints "
            "WHERE checkpoint_id IN (SELECT unnest($ids)) GROUP BY 1",
            ids=[row["checkpoint_id"] for row in found.checkpoints],
        )
    }
    for row in found.checkpoints:
        row["tainted"] = tainted.get(row["checkpoint_id"])


def names_of(sets: Sequence[Row]) -> list[str]:
    """Recipes that are alike have sets of one version: a set is named by both."""
    return [f"{row['recipe']}@{row['set_version']}" for row in sets]


def add_exposures(found: Trace) -> None:
    """How often each checkpoint was to see each of the samples, and saw it."""
    for checkpoint in found.checkpoints:
        taken: list[Mapping[str, Any]] = [
            item
            for row in found.samples
            for item in row["training_sets"]
            if (item["recipe"], item["set_version"], item["outcome"])
            == (checkpoint["recipe"], checkpoint["set_version"], KEPT)
        ]
        shown = times_shown(checkpoint, taken, Path(str(checkpoint["uri"])))
        for row in found.samples:
            if row["sample_id"] in shown:
                row.setdefault("seen", []).append(shown[row["sample_id"]])
