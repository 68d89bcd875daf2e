"""Plots: loss curve, scores by recipe, text lengths, rejects, guard rates, duplicates."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from veclip_pipelines.captioning.guard_rates import GuardCounts

_COLOURS = ("#4c6ef5", "#f59f00", "#12b886", "#e64980", "#868e96")

#: Metrics in the order in which they are shown, and their short names.
_METRICS = {
    **{f"image_to_text_recall@{k}": f"I2T R@{k}" for k in (1, 5, 10)},
    **{f"text_to_image_recall@{k}": f"T2I R@{k}" for k in (1, 5, 10)},
    "acc@1": "acc@1",
    "acc@5": "acc@5",
    "mean_per_class_recall": "mean per class",
}


def loss_curve(history: Mapping[str, Sequence[float]], title: str) -> bytes:
    """Loss at each step with its running mean, and the learning rate."""
    figure = Figure(figsize=(5.8, 3), layout="constrained")
    axes = figure.subplots()
    steps, losses = history["step"], history["loss"]
    axes.plot(steps, losses, color=_COLOURS[0], alpha=0.3, linewidth=1)
    axes.plot(steps, _running_mean(losses), color=_COLOURS[0], label="loss (InfoNCE)")
    axes.set(xlabel="step", ylabel="loss", title=title, ylim=(0, None))
    rate = axes.twinx()
    rate.plot(steps, history["learning_rate"], color=_COLOURS[1], linestyle=":", label="learning rate")
    rate.set(ylabel="learning rate", ylim=(0, None))
    axes.legend(handles=[axes.lines[1], rate.lines[0]], loc="upper right", frameon=False)
    return _png(figure)


def score_bars(scores: Sequence[Mapping[str, Any]]) -> bytes:
    """All metrics by recipe, one panel per benchmark."""
    benchmarks = sorted({str(score["benchmark"]) for score in scores}) or [""]
    recipes = sorted({str(score["recipe"]) for score in scores})
    figure = Figure(figsize=(5.8, 3 * len(benchmarks)), layout="constrained")
    panels = figure.subplots(len(benchmarks), 1, squeeze=False)[:, 0]
    for panel, benchmark in zip(panels, benchmarks, strict=True):
        present = {str(score["metric"]) for score in scores if score["benchmark"] == benchmark}
        metrics = [metric for metric in _METRICS if metric in present]
        for place, recipe in enumerate(recipes):
            found = {s["metric"]: s["value"] for s in scores if s["recipe"] == recipe and s["benchmark"] == benchmark}
            heights = [100 * found.get(metric, 0.0) for metric in metrics]
            width = 0.8 / len(recipes)
            bars = panel.bar(
                [x + place * width for x in range(len(metrics))],
                heights,
                width,
                label=recipe,
                color=_COLOURS[place % 5],
            )
            panel.bar_label(bars, fmt="%.0f", fontsize=7)
        labels = [_METRICS[metric] for metric in metrics]
        panel.set_xticks([x + 0.4 - 0.4 / max(1, len(recipes)) for x in range(len(metrics))], labels)
        panel.set(ylabel="%", ylim=(0, 108), title=benchmark if benchmark else "no scores yet")
        if recipes:
            panel.legend(frameon=False, fontsize=8, ncols=len(recipes), loc="upper left")
    return _png(figure)


def reject_bars(rejects: Sequence[Mapping[str, Any]], partition: str) -> bytes:
    """Rejects of a partition by stage and reason."""
    figure = Figure(figsize=(5.8, max(1.6, 0.9 + 0.26 * len(rejects))), layout="constrained")
    axes = figure.subplots()
    stages = sorted({str(row["stage"]) for row in rejects})
    names = [f"{row['reason']} ({row['stage']})" for row in rejects]
    colours = [_COLOURS[stages.index(str(row["stage"])) % 5] for row in rejects]
    bars = axes.barh(names, [row["rows"] for row in rejects], color=colours)
    axes.bar_label(bars, fontsize=8, padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="rows", title=f"rejects of {partition}" if rejects else f"no rejects of {partition}")
    return _png(figure)


def guard_rates(history: Sequence[GuardCounts], title: str) -> bytes:
    """Share of rows that each guard objected to, partition by partition, the newest on the right."""
    figure = Figure(figsize=(6.6, 3.2), layout="constrained")
    axes = figure.subplots()
    names = [counts.partition for counts in history]
    total: dict[str, int] = {}
    for counts in history:
        for reason, rows in counts.faults.items():
            total[reason] = total.get(reason, 0) + rows
    for place, reason in enumerate(sorted(total, key=lambda name: -total[name])[:8]):
        shares = [100 * counts.faults.get(reason, 0) / max(1, counts.rows) for counts in history]
        style = "-" if place < len(_COLOURS) else "--"
        axes.plot(names, shares, marker="o", markersize=3, linestyle=style, color=_COLOURS[place % 5], label=reason)
    axes.set(ylabel="% of rows", ylim=(0, None), title=title if total else f"{title}: no guard objected")
    axes.tick_params(axis="x", rotation=30, labelsize=7)
    if total:
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return _png(figure)


def group_sizes(sizes: Mapping[int, int]) -> bytes:
    """How many groups of duplicates have how many members."""
    figure = Figure(figsize=(5.8, 2.8), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar([str(size) for size in sizes], list(sizes.values()), color=_COLOURS[0])
    axes.bar_label(bars, fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(
        xlabel="samples in a group", ylabel="groups", title="duplicate pictures" if sizes else "no duplicate pictures"
    )
    return _png(figure)


def length_histogram(lengths: Mapping[str, Sequence[int]], title: str) -> bytes:
    """How many words the texts of a training set have, by source."""
    figure = Figure(figsize=(5.8, 2.8), layout="constrained")
    axes = figure.subplots()
    longest = max((max(values) for values in lengths.values() if values), default=10)
    for place, (source, values) in enumerate(sorted(lengths.items())):
        axes.hist(values, bins=range(0, longest + 2), alpha=0.6, label=source, color=_COLOURS[place % 5])
    axes.set(xlabel="words", ylabel="samples", title=title)
    if lengths:
        axes.legend(frameon=False)
    return _png(figure)


def _running_mean(values: Sequence[float], window: int = 10) -> list[float]:
    return [sum(part) / len(part) for part in (values[max(0, at - window + 1) : at + 1] for at in range(len(values)))]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
