"""A data card as one HTML file with its pictures and its lineage graph in it."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from veclip_pipelines.reporting.card import Card
from veclip_pipelines.serving.lineage_picture import lineage_svg
from veclip_pipelines.serving.trace_page import environment, inline_pictures
from veclip_pipelines.tables.warehouse import Warehouse


def report_page(warehouse: Warehouse, card: Card) -> str:
    """The card as one self-contained file: nothing in it is fetched from anywhere."""
    lineage = f"data:image/svg+xml;base64,{base64.b64encode(lineage_svg(card.graph)).decode()}"
    return render(card, lineage, inline_pictures(warehouse, (row["image_sha256"] for row in card.samples)))


def render(card: Card, lineage: str, pictures: Mapping[str, str]) -> str:
    """The page. lineage, pictures: addresses of the graph, and of each picture by SHA-256."""
    figures = {name: {row["of"]: row["value"] for row in card.figures if row["figure"] == name} for name in _FIGURES}
    sources = sorted({of for name in _FIGURES for of in figures[name]})
    return environment().get_template("report.html").render(
        card=card, lineage=lineage, pictures=pictures, figures=figures, names=_FIGURES, sources=sources
    )  # fmt: skip


_FIGURES = {
    "share_of_draws": "share of what training draws",
    "tokens_mean": "tokens, mean",
    "tokens_95": "tokens, 95th percentile",
    "share_over_77": "share over 77 tokens",
    "distinct_words": "distinct words",
    "texts_looked_at": "texts looked at",
}
