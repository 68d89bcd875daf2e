"""The experiment's report: figures as JSON, tables as Markdown, a plot next to the paper's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from veclip_pipelines.evaluation.scoreboard import paper_rows
from veclip_pipelines.experiment.design import LARGE, Plan
from veclip_pipelines.experiment.findings import ClaimResult, Key, Mean, findings, markdown, means
from veclip_pipelines.stages import CHECKPOINTS
from veclip_pipelines.tables.provenance import materialisations
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

_COLOURS = {
    "alttext": "#868e96", "concept": "#f59f00", "vecap": "#12b886", "mixed": "#4c6ef5", "shuffled": "#e64980", "longer": "#adb5bd",
    "taught": "#845ef7",
}  # fmt: skip
REPORT, PLOT, FIGURES = "report.md", "scores.png", "figures.json"


def scores_of(warehouse: Warehouse, recipes: Sequence[str]) -> list[dict[str, Any]]:
    """The scores of the newest checkpoint of each recipe, with the seconds that its training took."""
    return read_rows(
        warehouse,
        "SELECT s.recipe, s.benchmark, s.metric, s.value, s.low, s.high, s.checkpoint_id, c.weights_sha256, c.set_version, "
        "c.samples, c.steps, c.final_loss FROM benchmark_scores s JOIN checkpoints c USING (checkpoint_id) "
        "WHERE list_contains(?, s.recipe) "
        "QUALIFY row_number() OVER (PARTITION BY s.recipe, s.benchmark, s.metric ORDER BY c.trained_at DESC, s.scored_at DESC) = 1 "
        "ORDER BY s.recipe, s.benchmark, s.metric",
        [list(recipes)],
        tables=["benchmark_scores", "checkpoints"],
    )


def seconds_of(warehouse: Warehouse, recipes: Sequence[str]) -> dict[str, float]:
    """Seconds taken by each recipe's newest training that did any work."""
    found: dict[str, float] = {}
    for one in materialisations(warehouse, assets=[CHECKPOINTS.name], partitions=recipes):
        found[one.partition] = max(one.seconds, found.get(one.partition, 0.0))
    return found


def write_report(
    warehouse: Warehouse, plan: Plan, folder: Path
) -> tuple[dict[Key, dict[str, Mean]], list[ClaimResult]]:
    """Writes report.md, scores.png and figures.json; returns what is in them."""
    recipes = [run.recipe for run in plan.runs()]
    scores, seconds = scores_of(warehouse, recipes), seconds_of(warehouse, recipes)
    found = means(scores, plan.runs())
    told = findings(found, plan)
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "plan": asdict(plan),
        "means": [
            {"arm": arm, "pictures": size, "metric": name, **asdict(mean)}
            for (arm, size), metrics in found.items()
            for name, mean in metrics.items()
        ],
        "findings": [asdict(item) for item in told],
        "runs": [{**row, "training_seconds": seconds.get(row["recipe"])} for row in scores],
    }
    (folder / FIGURES).write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    (folder / REPORT).write_text(markdown(found, told) + "\n", "utf-8")
    plot(found, plan).savefig(folder / PLOT, dpi=110)
    return found, told


def plot(found: Mapping[Key, Mapping[str, Mean]], plan: Plan) -> Figure:
    """Ours above, the paper's beneath: retrieval left, recognition right."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 2)
    arms = [*plan.arms, *plan.controls]
    for panel, name in zip(panels[0], ("I2T R@1", "acc@1"), strict=True):
        _ours(panel, found, name, arms, plan.sizes)
    rows = paper_rows()
    sizes = ("3M", "12M", "100M", "200M")
    for panel, column, title in zip(
        panels[1], ("COCO I2T", "ImageNet"), ("COCO I2T R@1", "ImageNet acc@1"), strict=True
    ):
        for model, colour in (("CLIP B/16", _COLOURS["alttext"]), ("VeCLIP B/16", _COLOURS["mixed"])):
            heights = [
                next(row.scores[column] for row in rows if (row.data, row.model) == (size, model)) for size in sizes
            ]
            places = [place + (0.4 if model.startswith("Ve") else 0.0) for place in range(len(sizes))]
            panel.bar_label(panel.bar(places, heights, 0.38, color=colour, label=model), fmt="%.1f", fontsize=7)
        panel.set_xticks([place + 0.2 for place in range(len(sizes))], sizes)
        panel.set(ylabel="%", title=f"the paper: {title}")
        panel.legend(frameon=False, fontsize=8)
    return figure


def _ours(
    panel: Axes, found: Mapping[Key, Mapping[str, Mean]], name: str, arms: Sequence[str], sizes: Sequence[str]
) -> None:
    places, labels = [], []
    for place, arm in enumerate(arms):
        for offset, size in enumerate(sizes):
            mean = found.get((arm, size), {}).get(name)
            if mean is None:
                continue
            bar = panel.bar(
                [place + 0.4 * offset], [mean.value], 0.38, yerr=[mean.half], capsize=3, color=_COLOURS[arm],
                alpha=1.0 if size == LARGE or len(sizes) == 1 else 0.55,
            )  # fmt: skip
            panel.bar_label(bar, fmt="%.1f", fontsize=7, padding=2)
        places.append(place + 0.2)
        labels.append(arm)
    panel.set_xticks(places, labels, fontsize=8)
    panel.set(ylabel="%", title=f"{name} ({sizes[0]} pale, {sizes[-1]} full)", ylim=(0, None))
