"""A lineage graph as a picture: from the drops on the left to the scores on the right, as SVG."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from veclip_pipelines.lineage.graph import Graph
from veclip_pipelines.stages import STAGES, depth
from veclip_pipelines.tables.provenance import Provenance

#: Drops and engines are drawn to the left of all stages.
_SOURCES = {"drop": "#e9ecef", "engine": "#fff3bf"}
#: The most boxes of one kind that are drawn separately; more are drawn as one.
_MOST = 6
_WIDTH, _HEIGHT, _LINE = 2.3, 0.78, 28


@dataclass(frozen=True)
class Box:
    """One box: a materialisation, a drop, an engine, or several of one kind."""

    kind: str
    lines: tuple[str, ...]


def _column(kind: str) -> int:
    return 0 if kind in _SOURCES else depth(kind)


def _colour(kind: str) -> str:
    return _SOURCES.get(kind) or STAGES[kind].colour


def lineage_svg(graph: Graph) -> bytes:
    """The picture. It contains names of partitions, recipes, profiles and benchmarks, but no text of a sample."""
    boxes, arrows = boxes_of(graph)
    columns: dict[int, list[int]] = {}
    for number, box in enumerate(boxes):
        columns.setdefault(_column(box.kind), []).append(number)
    last = max(map(depth, STAGES))
    most = max((len(numbers) for numbers in columns.values()), default=1)
    places = {
        number: (column * (_WIDTH + 0.7), (len(numbers) - 1) / 2 - row)
        for column, numbers in columns.items()
        for row, number in enumerate(numbers)
    }
    figure = Figure(figsize=(2.1 * (last + 1), max(1.6, 0.95 * most)), layout="constrained")
    axes = figure.subplots()
    for left, right in arrows:
        (x, y), (to_x, to_y) = places[left], places[right]
        axes.annotate(
            "", (to_x - 0.02, to_y), (x + _WIDTH, y),
            arrowprops={"arrowstyle": "-|>", "color": "#868e96", "linewidth": 0.9, "connectionstyle": "arc3,rad=0.05"}, zorder=0,
        )  # fmt: skip
    for number, (x, y) in places.items():
        box = boxes[number]
        axes.add_patch(
            matplotlib.patches.FancyBboxPatch(
                (x, y - _HEIGHT / 2), _WIDTH, _HEIGHT, boxstyle="round,pad=0,rounding_size=0.08", facecolor=_colour(box.kind),
                edgecolor="#868e96", linewidth=0.8,
            )
        )  # fmt: skip
        for line, text in enumerate(box.lines[:3]):
            axes.text(
                x + _WIDTH / 2, y + 0.22 - 0.22 * line, _short(text), ha="center", va="center", parse_math=False,
                fontsize=7.5 if line else 8.5, fontweight="normal" if line else "bold", color="#1f2430" if line < 2 else "#6b7280",
            )  # fmt: skip
    axes.set(xlim=(-0.1, last * (_WIDTH + 0.7) + _WIDTH + 0.1), ylim=(-most / 2 - 0.1, most / 2 + 0.1))
    axes.axis("off")
    buffer = io.BytesIO()
    # Texts are not turned into paths, and the same graph gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "veclip"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def boxes_of(graph: Graph) -> tuple[list[Box], list[tuple[int, int]]]:
    """Boxes and arrows. One box stands for all of a kind that has many."""
    groups: dict[tuple[str, ...], list[Provenance]] = {}
    counts: dict[tuple[str, str], int] = {}
    for one in graph.made:
        counts[one.asset, one.engine] = counts.get((one.asset, one.engine), 0) + 1
    crowded = {key for key, count in counts.items() if count > _MOST}
    names: list[tuple[str, ...]] = []
    for one in graph.made:
        apart = () if (one.asset, one.engine) in crowded else (one.partition, one.data_version)
        names.append((one.asset, one.engine, *apart))
        groups.setdefault(names[-1], []).append(one)
    boxes: list[Box] = []
    at: dict[tuple[str, ...], int] = {}

    def place(name: tuple[str, ...], box: Box) -> int:
        if name not in at:
            at[name] = len(boxes)
            boxes.append(box)
        return at[name]

    arrows: dict[tuple[int, int], None] = {}
    for name, group in groups.items():
        number = place(name, Box(group[0].asset, tuple(_told(graph, group))))
        for source, box in _sources(graph, group):
            arrows[place(source, box), number] = None
    for left, right in graph.edges:
        arrows[at[names[left]], at[names[right]]] = None
    return boxes, list(arrows)


def _told(graph: Graph, group: Sequence[Provenance]) -> Iterator[str]:
    one = group[0]
    yield one.asset
    engine = graph.engines.get(one.engine)
    what = f"{len(group)} partitions" if len(group) > 1 else one.partition
    if one.asset == "checkpoints":
        what = one.inputs["checkpoint"]
    yield f"{what} by {engine['profile']}" if engine else what
    if one.asset == "benchmark_scores":
        of = one.inputs.get("checkpoint")
        yield ", ".join(sorted({str(row["benchmark"]) for row in graph.scores if row["checkpoint_id"] == of}))
    elif one.asset == "checkpoints":
        losses = [row for row in graph.checkpoints if row["checkpoint_id"] == what]
        yield f"{losses[0]['steps']} steps" if losses else ""
    else:
        rejected = sum(item.rows_rejected for item in group)
        yield f"{sum(item.rows_kept for item in group)} rows" + (f", {rejected} rejects" if rejected else "")


def _sources(graph: Graph, group: Sequence[Provenance]) -> Iterator[tuple[tuple[str, ...], Box]]:
    """Drops and engines that were used for a group."""
    one = group[0]
    if one.asset == "raw_crawl" and len(group) > 1:
        yield ("drop",), Box("drop", ("crawl drops", f"{len(group)} folders", ""))
    elif one.asset == "raw_crawl" and (drop := graph.drops.get(one.partition)):
        yield (
            ("drop", one.partition),
            Box("drop", ("crawl drop", str(drop["uri"]).rstrip("/").rpartition("/")[2], str(drop["format"]))),
        )
    if engine := graph.engines.get(one.engine):
        yield ("engine", one.engine), _engine(engine)


def _engine(row: Mapping[str, object]) -> Box:
    return Box(
        "engine",
        (f"engine {row['profile']}", str(row["model"]).rpartition("/")[2], str(row["prompt_name"] or "no prompt")),
    )


def _short(text: str) -> str:
    return text if len(text) <= _LINE else f"{text[: _LINE - 1]}…"
