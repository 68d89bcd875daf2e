"""veclip diff: what changed between two training sets or two engines."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import print_json, print_rows, say
from veclip_pipelines.lineage.diff import EXAMPLES


def diff(
    left: Annotated[str, typer.Argument(help="RECIPE or RECIPE@VERSION, or an engine's profile or id.")],
    right: Annotated[str, typer.Argument(help="What it is compared with.")],
    examples: Annotated[int, typer.Option(min=0, help="The most different texts to show.")] = EXAMPLES,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file, with the pictures in it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two training sets, or two engines' captions of the same crawl partitions."""
    from veclip_pipelines.lineage.diff import diff as compare

    warehouse = context.warehouse()
    found = compare(warehouse, left, right, examples=examples)
    if html is not None:
        from veclip_pipelines.serving.standalone_pages import diff_page

        context.write_page(html, diff_page(warehouse, found))
    if as_json:
        return print_json(dataclasses.asdict(found))
    say(f"{found.kind}: {found.left} (left) and {found.right} (right)")
    say(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.rows.items()))
    columns = ("source", "texts left", "right", "words left", "right", "changed", "words in common")
    rows: list[list[object]] = [
        [
            row["source"], row["left_texts"], row["right_texts"], _number(row["left_words"]), _number(row["right_words"]),
            _share(row["changed"]), _share(row["overlap"]),
        ]
        for row in found.sources
    ]  # fmt: skip
    print_rows("Texts", columns, rows, numbers=columns[1:])
    if found.faults:
        shares: list[list[object]] = [
            [row["what"], _share(row["left_share"]), _share(row["right_share"])] for row in found.faults
        ]
        print_rows("Routes, guards, rejects", ("", "left", "right"), shares, numbers=("left", "right"))
    most: list[list[object]] = [
        [row["key"][:12], row["source"], row["left_text"], row["right_text"]] for row in found.examples
    ]
    if most:
        print_rows("The most different", ("of", "source", "left", "right"), most)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
