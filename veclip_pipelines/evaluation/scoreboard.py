"""The scoreboard: what our checkpoints score, next to the paper's table, as Markdown, as a plot, as one HTML file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from veclip_pipelines.media.storage import put_text
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

#: The metrics that are shown, which are those of the paper's table, and their names there.
HEADLINES = {"image_to_text_recall@1": "I2T", "text_to_image_recall@1": "T2I", "acc@1": ""}
_OURS, _THEIRS = "#4c6ef5", "#868e96"


@dataclass(frozen=True)
class Row:
    """A model's scores in %, by column; with the interval where it is ours.

    Attributes:
        data: what it was trained on: for ours, the number of samples.
    """

    model: str
    data: str
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


def newest_scores(warehouse: Warehouse) -> list[dict[str, Any]]:
    """The scores of the newest checkpoint of each recipe that has any."""
    return read_rows(
        warehouse,
        "SELECT s.recipe, s.benchmark, s.metric, s.value, s.low, s.high, s.queries, s.checkpoint_id, c.samples, "
        "(SELECT count(DISTINCT t.sample_id) FROM taints t WHERE t.checkpoint_id = s.checkpoint_id) AS tainted FROM benchmark_scores s "
        "JOIN (SELECT recipe, checkpoint_id, samples FROM checkpoints "
        "WHERE checkpoint_id IN (SELECT checkpoint_id FROM benchmark_scores) "
        "QUALIFY row_number() OVER (PARTITION BY recipe ORDER BY trained_at DESC) = 1) c USING (recipe, checkpoint_id) "
        "QUALIFY row_number() OVER (PARTITION BY s.recipe, s.benchmark, s.metric ORDER BY s.scored_at DESC) = 1 "
        "ORDER BY s.benchmark, s.recipe, s.metric",
        tables=["benchmark_scores", "checkpoints", "taints"],
    )


def our_rows(scores: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row per recipe."""
    found: dict[str, Row] = {}
    for score in scores:
        if score["metric"] not in HEADLINES:
            continue
        column = f"{score['benchmark']} {HEADLINES[score['metric']]}".strip()
        # Trained on what has been taken down since: the score stays, with a note.
        gone = f", {score['tainted']} of them taken down since" if score.get("tainted") else ""
        data = f"{score['samples']} samples{gone}"
        row = found.setdefault(score["recipe"], Row(score["recipe"], data, {}, {}))
        scores_, intervals = dict(row.scores), dict(row.intervals)
        scores_[column] = 100 * score["value"]
        if score["low"] is not None:
            intervals[column] = (100 * score["low"], 100 * score["high"])
        found[score["recipe"]] = Row(row.model, row.data, scores_, intervals)
    return list(found.values())


def paper_rows() -> list[Row]:
    """The paper's table."""
    content = yaml.safe_load((files("veclip_pipelines") / "evaluation" / "paper_scores.yaml").read_text("utf-8"))
    columns = content["columns"]
    return [
        Row(row["model"], row["data"], dict(zip(columns, row["scores"], strict=True)), {}) for row in content["rows"]
    ]


def table_of(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells."""
    columns = list(dict.fromkeys(column for row in rows for column in row.scores))
    cells = [
        [row.model, row.data, *(_cell(row, column) for column in columns)]
        for row in sorted(rows, key=lambda row: (row.data, row.model))
    ]
    return ["model", "trained on", *columns], cells


def _cell(row: Row, column: str) -> str:
    if column not in row.scores:
        return ""
    interval = row.intervals.get(column)
    return f"{row.scores[column]:.2f}" + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table. Names of recipes and benchmarks are file names: marks of Markdown are taken out."""
    header, cells = table_of(rows)
    clean = [[cell.replace("|", " ").replace("`", " ") for cell in line] for line in [header, *cells]]
    rule = "| --- | --- |" + " ---: |" * (len(header) - 2)
    return "\n".join([f"| {' | '.join(clean[0])} |", rule, *(f"| {' | '.join(line)} |" for line in clean[1:])])


def plot(ours: Sequence[Row], paper: Sequence[Row]) -> bytes:
    """Retrieval against recognition, one point per model: ours left, the paper's right. PNG."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for panel, rows, title, colour in (
        (left, ours, "here", _OURS),
        (right, paper, "the paper: COCO and ImageNet", _THEIRS),
    ):
        names = [name for row in rows for name in row.scores]
        retrieval = next((name for name in names if name.endswith("I2T")), None)
        recognition = next((name for name in names if not name.endswith(("I2T", "T2I"))), None)
        panel.set(
            title=title, xlabel=f"{retrieval or 'I2T'}, R@1 in %", ylabel=f"{recognition or 'zero-shot'}, acc@1 in %"
        )
        points = [(row.scores.get(retrieval or "", 0.0), row.scores.get(recognition or "", 0.0)) for row in rows]
        for row, (x, y) in zip(rows, points, strict=True):
            marker = "o" if "CLIP" not in row.model or "Ve" in row.model else "s"
            panel.plot([x], [y], marker, color=colour, markersize=6)
        panel.margins(x=0.05)
        panel.set_xlim(right=panel.get_xlim()[1] + 0.35 * (panel.get_xlim()[1] - panel.get_xlim()[0]))  # for the names
        _name(panel, [f"{row.model} {row.data}" if rows is paper else row.model for row in rows], points)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _name(panel: Axes, names: Sequence[str], points: Sequence[tuple[float, float]]) -> None:
    """Labels the points, except those whose label would overlap another's: among thirty similar runs some labels are enough."""
    (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    named: list[tuple[float, float]] = []
    for name, (x, y) in zip(names, points, strict=True):
        place = ((x - left) / (right - left), (y - low) / (high - low))
        if all(abs(place[0] - other[0]) > 0.3 or abs(place[1] - other[1]) > 0.035 for other in named):
            named.append(place)
            panel.annotate(name, (x, y), (4, 3), textcoords="offset points", fontsize=6)


def page(ours: Sequence[Row], paper: Sequence[Row]) -> str:
    """One self-contained HTML file; every text in it is escaped."""
    image = base64.b64encode(plot(ours, paper)).decode()
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Scoreboard</title><style>body{font:15px system-ui;"
        "margin:2rem;max-width:75rem}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;text-align:right;"
        "border-bottom:1px solid #ddd}td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}img{max-width:100%}</style></head><body>"
        f"<h1>Scoreboard</h1><img alt='scores' src='data:image/png;base64,{image}'>"
        "<h2>Here</h2><p>Newest checkpoint of each recipe, in %, with 95 % bootstrap intervals over the queries.</p>"
        f"{_html_table(ours)}<h2>The paper</h2><p>VeCLIP, arXiv 2310.07699, as released; not measured here.</p>{_html_table(paper)}"
        "</body></html>"
    )


def write_page(target: Path, ours: Sequence[Row], paper: Sequence[Row]) -> None:
    """Writes :func:`page` to a file: a reader sees the page before or the page after."""
    put_text(target, page(ours, paper))


def _html_table(rows: Sequence[Row]) -> str:
    header, cells = table_of(rows)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in cells)
    return f"<table><tr>{head}</tr>{body}</table>"
