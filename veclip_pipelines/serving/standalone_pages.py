"""Pages that are one file with their pictures in it (traces, comparisons, data cards, takedowns), and the templates of all pages."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import jinja2

from veclip_pipelines.lineage.diff import Diff
from veclip_pipelines.lineage.trace_forwards import Trace
from veclip_pipelines.lineage.tree import Branch, tree_of
from veclip_pipelines.media.pictures import PictureError
from veclip_pipelines.media.shards import read_ranges
from veclip_pipelines.reporting.card import Card
from veclip_pipelines.serving import shown_samples
from veclip_pipelines.serving.contact_sheet import thumbnail_jpeg
from veclip_pipelines.serving.lineage_picture import lineage_svg
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.consequences import Report

_FIGURES = {
    "share_of_draws": "share of what training draws",
    "tokens_mean": "tokens, mean",
    "tokens_95": "tokens, 95th percentile",
    "share_over_77": "share over 77 tokens",
    "distinct_words": "distinct words",
    "texts_looked_at": "texts looked at",
}


def environment() -> jinja2.Environment:
    """The pages' templates; every value is escaped, and an undefined name is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )


def standalone_page(warehouse: Warehouse, found: Trace) -> str:
    """A trace as one self-contained HTML file."""
    tree = tree_of(found)
    pictures = inline_pictures(warehouse, pictures_of(tree))
    return environment().get_template("trace.html").render(tree=tree, pictures=pictures)


def diff_page(warehouse: Warehouse, found: Diff) -> str:
    """A comparison as one self-contained HTML file."""
    pictures = inline_pictures(warehouse, (row["image_sha256"] for row in found.examples if row["image_sha256"]))
    return environment().get_template("diff.html").render(diff=found, pictures=pictures)


def inline_pictures(warehouse: Warehouse, wanted: Iterable[str]) -> dict[str, str]:
    """Small pictures as data: addresses, by SHA-256; those that cannot be read any more are left out."""
    pictures = {}
    for sha256 in set(wanted):
        place = shown_samples.find_picture(warehouse, sha256)
        if place is None:
            continue
        try:
            data = thumbnail_jpeg(next(read_ranges([place])))
        except (PictureError, OSError):
            continue
        pictures[sha256] = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return pictures


def pictures_of(branch: Branch) -> Iterator[str]:
    """SHA-256 of the pictures that a tree shows."""
    if branch.picture:
        yield branch.picture
    for item in branch.branches:
        yield from pictures_of(item)


def takedown_page(found: Report) -> str:
    """A takedown's report as one self-contained HTML file, to be sent to whoever asked for it.

    No picture and no text of what was taken down is in it.
    """
    return environment().get_template("takedown.html").render(report=found)


def report_page(warehouse: Warehouse, card: Card) -> str:
    """A data card as one self-contained HTML file with its pictures and its lineage graph: nothing in it is fetched from anywhere."""
    lineage = f"data:image/svg+xml;base64,{base64.b64encode(lineage_svg(card.graph)).decode()}"
    return render_report(card, lineage, inline_pictures(warehouse, (row["image_sha256"] for row in card.samples)))


def render_report(card: Card, lineage: str, pictures: Mapping[str, str]) -> str:
    """A data card's page. lineage, pictures: addresses of the graph, and of each picture by SHA-256."""
    figures = {name: {row["of"]: row["value"] for row in card.figures if row["figure"] == name} for name in _FIGURES}
    sources = sorted({of for name in _FIGURES for of in figures[name]})
    return environment().get_template("report.html").render(
        card=card, lineage=lineage, pictures=pictures, figures=figures, names=_FIGURES, sources=sources
    )  # fmt: skip
