"""What the runs show: means over seeds with their intervals, and each of the paper's claims tested by them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from veclip_pipelines.experiment.data import NAMES, RETRIEVAL
from veclip_pipelines.experiment.design import Plan, Run

Key = tuple[str, str]
#: The metrics that are reported, by display name: benchmark and metric.
METRICS: dict[str, Key] = {
    "I2T R@1": (RETRIEVAL, "image_to_text_recall@1"),
    "T2I R@1": (RETRIEVAL, "text_to_image_recall@1"),
    "acc@1": (NAMES, "acc@1"),
}
_Z = 1.96


@dataclass(frozen=True)
class Mean:
    """Mean of a metric over seeds, in %, with the half width of its 95 % interval.

    The interval covers both kinds of chance: other seeds (variance between the runs), and other benchmark pictures
    (each run's bootstrap interval, which the seeds share).
    """

    value: float
    half: float
    runs: int


@dataclass(frozen=True)
class ClaimResult:
    """A claim and its outcome.

    Attributes:
        claim: in words.
        difference: in percentage points, with the half width of its interval.
        verdict: holds; does not hold; or cannot be told, where the interval contains zero.
    """

    claim: str
    difference: float
    half: float
    verdict: Literal["holds", "does not hold", "cannot be told"]


def means(
    scores: Iterable[Mapping[str, object]], runs: Iterable[Run], metrics: Mapping[str, Key] = METRICS
) -> dict[Key, dict[str, Mean]]:
    """Mean of each metric, by (arm, size).

    Args:
        scores: rows of benchmark_scores: recipe, benchmark, metric, value, low, high.
    """
    found: dict[tuple[Key, str], list[tuple[float, float]]] = {}
    by_recipe = {run.recipe: run for run in runs}
    for row in scores:
        run = by_recipe.get(str(row["recipe"]))
        for name, key in metrics.items():
            if run is not None and (row["benchmark"], row["metric"]) == key:
                value, low, high = (100 * float(str(row[column])) for column in ("value", "low", "high"))
                found.setdefault(((run.arm, run.size), name), []).append((value, (high - low) / (2 * _Z)))
    result: dict[Key, dict[str, Mean]] = {}
    for (arm, name), values in found.items():
        result.setdefault(arm, {})[name] = _mean(values)
    return result


def _mean(values: Sequence[tuple[float, float]]) -> Mean:
    count = len(values)
    mean = sum(value for value, _ in values) / count
    between = sum((value - mean) ** 2 for value, _ in values) / (count - 1) / count if count > 1 else 0.0
    within = sum(error**2 for _, error in values) / count
    return Mean(mean, _Z * math.sqrt(between + within), count)


def findings(found: Mapping[Key, Mapping[str, Mean]], plan: Plan) -> list[ClaimResult]:
    """The paper's claims and the controls, at each data size that was run."""
    result = []
    for size in plan.sizes:
        for better, worse, metric, claim in (
            ("vecap", "alttext", "I2T R@1", "VeCap beats AltText in retrieval, picture to text"),
            ("vecap", "alttext", "T2I R@1", "VeCap beats AltText in retrieval, text to picture"),
            ("mixed", "alttext", "I2T R@1", "the mix beats AltText in retrieval, picture to text"),
            ("mixed", "alttext", "T2I R@1", "the mix beats AltText in retrieval, text to picture"),
            ("alttext", "concept", "acc@1", "names are known from AltText, and not from concept captions"),
            ("mixed", "vecap", "acc@1", "the mix beats VeCap alone in recognition by name"),
            ("mixed", "alttext", "acc@1", "the mix beats AltText in recognition by name"),
            ("vecap", "concept", "acc@1", "fusion brings the names that concept captions lack"),
            ("mixed", "shuffled", "I2T R@1", "control: captions of other pictures do not do it"),
            ("mixed", "longer", "I2T R@1", "control: training on AltText for twice as long does not do it"),
            (
                "mixed",
                "taught",
                "I2T R@1",
                "control: the captioner's own training pictures beside AltText do not do it",
            ),
        ):
            first, second = (found.get((arm, size), {}).get(metric) for arm in (better, worse))
            if first is not None and second is not None:
                result.append(compare(f"{claim} ({size} pictures)", first, second))
    return result


def compare(claim: str, first: Mean, second: Mean) -> ClaimResult:
    """Whether the first exceeds the second by more than chance."""
    difference, half = first.value - second.value, math.hypot(first.half, second.half)
    if abs(difference) <= half:
        return ClaimResult(claim, difference, half, "cannot be told")
    return ClaimResult(claim, difference, half, "holds" if difference > 0 else "does not hold")


def markdown(
    found: Mapping[Key, Mapping[str, Mean]], told: Sequence[ClaimResult], metrics: Mapping[str, Key] = METRICS
) -> str:
    """Both as tables."""
    columns = len(metrics) + 1
    lines = ["| trained on | pictures | " + " | ".join(metrics) + " | seeds |", "| --- | ---: |" + " ---: |" * columns]
    for (arm, size), of_arm in found.items():
        values = [f"{m.value:.1f} ± {m.half:.1f}" if (m := of_arm.get(name)) else "-" for name in metrics]
        lines.append(f"| {arm} | {size} | {' | '.join(values)} | {max(m.runs for m in of_arm.values())} |")
    lines += ["", "| claim | difference, points | |", "| --- | ---: | --- |"]
    lines += [f"| {item.claim} | {item.difference:+.1f} ± {item.half:.1f} | {item.verdict} |" for item in told]
    return "\n".join(lines)
