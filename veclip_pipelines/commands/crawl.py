"""veclip crawl: register crawl drops, list them, look at what was rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import ProgressBoard, print_rows, rows_as_json, say
from veclip_pipelines.crawl.drops import check_new, default_partition_key, inspect_drop, list_drops
from veclip_pipelines.tables.query import read_rows

app = typer.Typer(no_args_is_help=True, help="Crawl drops: register, list, look at rejects.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    folder: Annotated[str, typer.Argument(help="Folder of the drop (img2dataset webdataset output).")],
    partition: Annotated[
        str | None, typer.Option(help="Key of the crawl partition; by default the folder's name.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Take the place of the drop that has this key now.")] = False,
) -> None:
    """Register a crawl drop as a crawl partition. Materialise it with: veclip materialize"""
    drop = inspect_drop(folder)
    key = partition or default_partition_key(drop)
    check_new(context.warehouse(), drop, key, replace=replace)
    with ProgressBoard() as board:
        watch = board.add(f"registering {key}", 1)
        done = context.launcher().register(drop.uri, key, replace=replace, watch=watch)
    context.require_success(done)
    say(f"{key}: {_entries(drop.entries)} in {len(drop.sources)} sources of {drop.uri} ({drop.format})")
    say(f"next: veclip materialize --partition {key}")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the registered crawl drops."""
    drops = list_drops(context.warehouse())
    if as_json:
        return rows_as_json([vars(drop) for drop in drops])
    columns = ("crawl_partition", "format", "entries", "shards", "state", "uri", "registered_by")
    print_rows(
        "Crawl drops",
        columns,
        [[getattr(drop, name) for name in columns] for drop in drops],
        numbers=("entries", "shards"),
    )


@app.command()
def rejects(
    as_json: Json = False,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each reason.")] = 3,
) -> None:
    """Count what was rejected by stage, partition and reason, with examples."""
    rows = read_rows(
        context.warehouse(),
        "SELECT stage, partition_key, reason, count(*) AS rows, list(row_key ORDER BY row_key)[1:$n] AS row_keys, "
        "list(detail ORDER BY row_key)[1:$n] AS details FROM rejects GROUP BY ALL ORDER BY stage, partition_key, rows DESC, reason",
        {"n": examples},
    )
    if as_json:
        return rows_as_json(rows)
    lines = [
        [
            row["stage"],
            row["partition_key"],
            row["reason"],
            row["rows"],
            "\n".join(f"{key}: {detail}" for key, detail in zip(row["row_keys"], row["details"], strict=True)),
        ]
        for row in rows
    ]
    print_rows("Rejects", ("stage", "partition", "reason", "rows", "examples"), lines, numbers=("rows",))


def registered_partition(folder: Path) -> str | None:
    """The crawl partition of a folder, if it is registered as it is now."""
    drop = inspect_drop(str(folder))
    for known in list_drops(context.warehouse()):
        if known.uri == drop.uri and known.fingerprint == drop.fingerprint:
            return known.crawl_partition
    return None


def _entries(count: int | None) -> str:
    return "entries yet to be counted" if count is None else f"{count} entries"
