"""veclip crawl: register crawl drops, list them, show rejects and retry them, roll back, retire."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import ProgressBoard, describe_failure, print_rows, rows_as_json, say
from veclip_pipelines.errors import UsageError, VeclipError

_HISTORY = (
    "run_id", "recorded_at", "data_version", "delta_version", "rows_in", "rows_kept", "rows_rejected", "launched_by",
)  # fmt: skip
app = typer.Typer(
    no_args_is_help=True, help="Crawl drops: register, list, look at rejects and try them again, roll back, retire."
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    folder: Annotated[str, typer.Argument(help="Folder of the drop, or an fsspec URL of one.")],
    partition: Annotated[
        str | None, typer.Option(help="Key of the crawl partition; by default the folder's name.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Replace the drop that has this key now.")] = False,
) -> None:
    """Register a crawl drop as a crawl partition. Materialise it with: veclip materialize"""
    from veclip_pipelines.crawl.drops import check_new, default_partition_key, inspect_drop

    drop = inspect_drop(folder)
    key = partition or default_partition_key(drop)
    check_new(context.warehouse(), drop, key, replace=replace)
    with ProgressBoard() as board:
        watch = board.add(f"registering {key}", 1)
        done = context.launcher().crawl.register(drop.uri, key, replace=replace, watch=watch)
    context.require_success(done)
    say(f"{key}: {_entries(drop.entries)} in {len(drop.sources)} sources of {drop.uri} ({drop.format})")
    say(f"next: veclip materialize --partition {key}")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the registered crawl drops."""
    from veclip_pipelines.crawl.drops import list_drops

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
    partition: Annotated[str | None, typer.Option(help="Only of this partition.")] = None,
    stage: Annotated[str | None, typer.Option(help="Only of this stage: raw_crawl, concept_captions, ...")] = None,
) -> None:
    """Count what was rejected by stage, partition and reason, with examples."""
    from veclip_pipelines.tables.query import read_rows

    rows = read_rows(
        context.warehouse(),
        "SELECT stage, partition_key, reason, count(*) AS rows, list(row_key ORDER BY row_key)[1:$n] AS row_keys, "
        "list(detail ORDER BY row_key)[1:$n] AS details FROM rejects WHERE ($partition IS NULL OR partition_key = $partition) "
        "AND ($stage IS NULL OR stage = $stage) GROUP BY ALL ORDER BY stage, partition_key, rows DESC, reason",
        {"n": examples, "partition": partition, "stage": stage},
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


@app.command()
def retry(
    reason: Annotated[
        list[str], typer.Option(help="Reason code, as veclip crawl rejects shows it; repeat for several.")
    ],
    partition: Annotated[
        list[str] | None, typer.Option(help="Crawl partition; default: all that have such rows.")
    ] = None,
) -> None:
    """Read or fetch again only the rows of raw_crawl that were rejected for a reason, and merge them in one commit."""
    from veclip_pipelines.tables.query import read_rows

    launcher = context.launcher()
    found = read_rows(
        context.warehouse(),
        "SELECT crawl_partition, count(*) AS rows FROM raw_crawl WHERE outcome = 'rejected' AND list_contains($reasons, reason) "
        "GROUP BY 1 ORDER BY 1",
        {"reasons": reason},
        tables=["raw_crawl"],
    )
    counts = {
        row["crawl_partition"]: row["rows"] for row in found if not partition or row["crawl_partition"] in partition
    }
    if not counts:
        raise UsageError(
            f"no row was rejected for {', '.join(reason)}. veclip crawl rejects shows which reasons there are."
        )
    failed = []
    with ProgressBoard() as board:
        for key, rows in counts.items():
            done = launcher.crawl.index(key, reason, board.add(f"trying {rows} rows of {key} again", 2))
            if not done.success:
                failed.append(f"{key}: {describe_failure(done)}")
    if failed:
        raise VeclipError("\n".join(failed))
    say(f"next: veclip materialize --partition {next(iter(counts))}")


@app.command()
def history(
    partition: Annotated[str, typer.Argument(help="Crawl partition.")],
    as_json: Json = False,
) -> None:
    """List the contents that a crawl partition has had, the newest first."""
    from veclip_pipelines.planning.partition_history import earlier_contents

    rows = earlier_contents(context.warehouse(), partition)
    if as_json:
        return rows_as_json([{name: getattr(row, name) for name in _HISTORY} for row in rows])
    columns = ("recorded_at", "run_id", "rows_kept", "rows_rejected", "launched_by")
    lines = [[f"{row.recorded_at:%Y-%m-%d %H:%M:%S}", *(getattr(row, name) for name in columns[1:])] for row in rows]
    print_rows(f"Contents of {partition}", columns, lines, numbers=("rows_kept", "rows_rejected"))


@app.command()
def rollback(
    partition: Annotated[str, typer.Argument(help="Crawl partition.")],
    to: Annotated[
        str, typer.Option(help="Run that made the content (veclip crawl history); default: the one before.")
    ] = "",
) -> None:
    """Put a crawl partition and its captions back to an earlier content, and pin it there."""
    with ProgressBoard() as board:
        done = context.launcher().crawl.roll_back(partition, to, board.add(f"rolling back {partition}", 1))
    context.require_success(done)
    say(f"{partition} is as it was, and pinned: veclip crawl add DIR --partition {partition} takes its folder in again")


@app.command()
def retire(
    partition: Annotated[str, typer.Argument(help="Crawl partition.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Retire a crawl partition: its rows are removed from all tables. Its drop's files stay."""
    if not yes and not typer.confirm(f"Take {partition} out of raw_crawl and of all captions?"):
        raise UsageError("nothing was changed")
    with ProgressBoard() as board:
        done = context.launcher().crawl.retire(partition, board.add(f"retiring {partition}", 1))
    context.require_success(done)
    say(f"{partition} is retired; training sets that have it are stale now: veclip materialize --recipe NAME")


def registered_partition(folder: Path) -> str | None:
    """The crawl partition of a folder, if it is registered with its present content."""
    from veclip_pipelines.crawl.drops import inspect_drop, list_drops

    drop = inspect_drop(str(folder))
    for known in list_drops(context.warehouse()):
        if known.uri == drop.uri and known.fingerprint == drop.fingerprint:
            return known.crawl_partition
    return None


def _entries(count: int | None) -> str:
    return "entries yet to be counted" if count is None else f"{count} entries"
