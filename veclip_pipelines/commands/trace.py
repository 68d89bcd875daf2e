"""veclip trace: where a row came from and where it went."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import out, print_json, printable, say
from veclip_pipelines.lineage.questions import Kind

if TYPE_CHECKING:
    from veclip_pipelines.lineage.tree import Branch

_ENDLESS = 1_000_000


def trace(
    what: Annotated[
        str,
        typer.Argument(help="A picture file or its SHA-256, a URL, page or domain, a sample id, a text, an engine, a prompt file, a crawl "
                       "partition, a recipe or RECIPE@VERSION, a checkpoint (folder, id, MLflow run, weights' SHA-256), "
                       "RECIPE/BENCHMARK/METRIC."),
    ],
    kind: Annotated[Kind | None, typer.Option("--as", help="What it is, if that is not clear from its form.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows of the crawl that are shown one by one.")] = 5,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file, with the pictures in it.")] = None,
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # fmt: skip
    """Follow anything backwards to the crawl and forwards to the scores. Exit 1 if no table knows it."""
    from veclip_pipelines.lineage.questions import understand
    from veclip_pipelines.lineage.trace import trace as follow
    from veclip_pipelines.lineage.tree import as_json, tree_of

    warehouse = context.warehouse()
    question = understand(warehouse, what, kind)
    found = follow(warehouse, question, limit=limit)
    if html is not None:
        from veclip_pipelines.serving.standalone_pages import standalone_page

        context.write_page(html, standalone_page(warehouse, found))
    if as_json_:
        print_json(as_json(found))
    elif found.is_empty():
        say(f"no table knows the {question.kind.value} {question.value}")
    else:
        # Lines are not cut when they go to a file or another program.
        (out if out.is_terminal else Console(width=_ENDLESS, highlight=False)).print(_rendered(tree_of(found)))
    if found.is_empty():
        raise typer.Exit(1)


def _rendered(branch: Branch) -> Tree:
    tree = Tree(escape(printable(branch.text)), guide_style="dim")
    for item in branch.branches:
        tree.children.append(_rendered(item))
    return tree
