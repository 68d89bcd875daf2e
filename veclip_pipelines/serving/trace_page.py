"""Traces and comparisons as one file with its pictures in it, and the templates that served pages have, too."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path

import jinja2

from veclip_pipelines.lineage.diff import Diff
from veclip_pipelines.lineage.trace_forwards import Trace
from veclip_pipelines.lineage.tree import Branch, tree_of
from veclip_pipelines.media.pictures import PictureError
from veclip_pipelines.media.shards import read_ranges
from veclip_pipelines.serving import samples
from veclip_pipelines.serving.contact_sheet import thumbnail_jpeg
from veclip_pipelines.tables.warehouse import Warehouse


def environment() -> jinja2.Environment:
    """The pages' templates; every value is escaped, and a name that is not given is an error."""
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
    """Small pictures as data: addresses, by SHA-256; one that cannot be read any more is left out."""
    pictures = {}
    for sha256 in set(wanted):
        place = samples.find_picture(warehouse, sha256)
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
