"""A checkpoint's rows of benchmark_scores, and these rows as others show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.evaluation.benchmarks import open_benchmark
from veclip_pipelines.evaluation.models import ModelSource
from veclip_pipelines.evaluation.scoring import CODE_VERSION, score

ScoreRow = dict[str, Any]


@dataclass(frozen=True)
class ScoredCheckpoint:
    """A checkpoint and what it is scored on.

    Attributes:
        weights: its folder.
        benchmarks: the folder of each benchmark.
        versions: SHA-256 of each benchmark, as ``benchmark/NAME``.
    """

    recipe: str
    checkpoint_id: str
    weights: Path
    benchmarks: Sequence[Path]
    versions: Mapping[str, str]
    run_id: str


def score_checkpoint(checkpoint: ScoredCheckpoint, runner: Runner) -> list[ScoreRow]:
    """One row of benchmark_scores for each benchmark and metric."""
    model = ModelSource(str(checkpoint.weights))
    rows: list[ScoreRow] = []
    for folder in checkpoint.benchmarks:
        benchmark = open_benchmark(folder)
        rows += [
            {
                "checkpoint_id": checkpoint.checkpoint_id,
                "recipe": checkpoint.recipe,
                "benchmark": benchmark.name,
                "benchmark_sha256": checkpoint.versions[f"benchmark/{benchmark.name}"],
                "metric": metric,
                **vars(estimate),
                "code_version": CODE_VERSION,
                "scored_at": datetime.now(UTC),
                "run_id": checkpoint.run_id,
            }
            for metric, estimate in score(model, benchmark, runner).items()
        ]
    return rows


def as_metrics(rows: Sequence[ScoreRow]) -> dict[str, float]:
    """Scores by names that MLflow takes."""
    return {f"{row['benchmark']}/{row['metric']}".replace("@", "_at_"): float(row["value"]) for row in rows}


def as_percent(rows: Sequence[ScoreRow]) -> dict[str, str]:
    """Scores in % with their intervals, by benchmark and metric."""
    return {
        f"{row['benchmark']}/{row['metric']}": f"{100 * row['value']:.2f} [{100 * row['low']:.2f}, {100 * row['high']:.2f}]"
        for row in rows
    }
