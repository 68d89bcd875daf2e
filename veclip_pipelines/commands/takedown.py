"""veclip takedown: take pictures out of everything, and prove it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import ProgressBoard, err, out, print_json, print_rows, rows_as_json, say
from veclip_pipelines.errors import UsageError
from veclip_pipelines.takedown.requests import KEEP_DAYS, MOST_NEAR, NEAR

if TYPE_CHECKING:
    from veclip_pipelines.takedown.consequences import Report
    from veclip_pipelines.takedown.matches import Match

app = typer.Typer(
    no_args_is_help=True, help="Take pictures out of everything, and prove it: apply, list, report, verify, finish."
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SHOWN = 40


@app.command()
def apply(
    what: Annotated[
        list[str], typer.Argument(help="URLs, domains, SHA-256 or pictures' files; @FILE: a file with one per line.")
    ],
    reason: Annotated[str, typer.Option(help="Why; this is recorded.")] = "",
    by: Annotated[str, typer.Option(help="Who asked for it; by default you.")] = "",
    distance: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=MOST_NEAR,
            help=f"Bits of 64 in which a near copy's perceptual hash may differ. Of pictures' files {NEAR} unless told otherwise; "
            "of all else near copies are meant only where this is given.",
        ),
    ] = None,
    keep_days: Annotated[
        float, typer.Option(min=0, help="Days that earlier contents of the tables are kept, hidden from all readers.")
    ] = KEEP_DAYS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show each match, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Take out what is named, now and in every crawl to come. Running it again finishes what was killed."""
    from veclip_pipelines.takedown.consequences import report_of
    from veclip_pipelines.takedown.matches import find_matches
    from veclip_pipelines.takedown.register import register
    from veclip_pipelines.takedown.requests import read_requests

    warehouse = context.warehouse()
    requests = read_requests(what, distance)
    if dry_run or not yes:
        matches = find_matches(warehouse, requests, distance)
        if dry_run and as_json:
            return print_json([_match(match) for match in matches])
        if not as_json:
            _show(matches)
        if dry_run:
            return say(f"{len(matches)} rows would be taken out; nothing was changed")
        if not typer.confirm(f"Take out these {len(matches)} rows, for good?"):
            raise UsageError("nothing was changed")
    takedown, _ = register(
        warehouse, requests, distance=distance, by=by or context.user(), reason=reason, keep_days=keep_days
    )
    if not as_json:
        hidden = report_of(warehouse, takedown).samples
        say(f"takedown {takedown.takedown_id}: {hidden} samples are hidden from all readers")
    with ProgressBoard(err if as_json else out) as board:
        watch = board.add(f"taking down {takedown.takedown_id}", 1)
        done = context.launcher().takedowns.carry_out(takedown.takedown_id, watch)
    context.require_success(done)
    _tell(report_of(warehouse, takedown), as_json)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List all takedowns."""
    from veclip_pipelines.takedown.register import list_takedowns

    found = list_takedowns(context.warehouse())
    rows = [
        {
            "takedown_id": one.takedown_id,
            "requested_at": one.requested_at,
            "requested_by": one.requested_by,
            "reason": one.reason,
            "requests": len(one.requests),
        }
        for one in found
    ]
    if as_json:
        return rows_as_json(rows)
    lines: list[list[object]] = [
        [
            row["takedown_id"],
            f"{row['requested_at']:%Y-%m-%d %H:%M}",
            row["requested_by"],
            row["requests"],
            row["reason"],
        ]
        for row in rows
    ]
    print_rows("Takedowns", ("takedown", "at", "by", "requests", "reason"), lines, numbers=("requests",))


@app.command()
def report(
    takedown_id: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")],
    html: Annotated[Path | None, typer.Option(help="Write a page to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a takedown removed where, what still holds it and until when, and what was trained on it."""
    from veclip_pipelines.takedown.consequences import report_of
    from veclip_pipelines.takedown.register import find_takedown

    warehouse = context.warehouse()
    takedown = find_takedown(warehouse, takedown_id)
    if takedown is None:
        raise UsageError(f"there is no takedown {takedown_id!r}: veclip takedown list")
    found = report_of(warehouse, takedown)
    if html is not None:
        from veclip_pipelines.serving.standalone_pages import takedown_page

        html.write_text(takedown_page(found), "utf-8")
    _tell(found, as_json)


@app.command()
def verify(
    takedown_id: Annotated[str, typer.Argument(help="Its id, or the beginning of it; all by default.")] = "",
    as_json: Json = False,
) -> None:
    """Decode and search everything for the pictures and texts that were taken down. Exit 1 if something is left."""
    from veclip_pipelines.takedown.register import find_takedown
    from veclip_pipelines.takedown.verification import verify as search

    warehouse = context.warehouse()
    takedown = find_takedown(warehouse, takedown_id) if takedown_id else None
    if takedown_id and takedown is None:
        raise UsageError(f"there is no takedown {takedown_id!r}: veclip takedown list")
    databases = context.launcher().takedowns.databases()
    found = search(warehouse, context.settings(), takedown.takedown_id if takedown else None, databases=databases)
    if as_json:
        print_json(dataclasses.asdict(found))
    else:
        say(f"{found.places} files and databases searched for {found.pictures} pictures and {found.texts} texts")
        if found.shared:
            say(f"{found.shared} of the texts also belong to samples that stay, and prove nothing")
        lines: list[list[object]] = [
            [one.uri, one.state if one.until is None else f"held until {one.until:%Y-%m-%d %H:%M}", one.kind, one.where]
            for one in found.remnants
        ]
        lines += [[uri, "unreadable", "", why] for uri, why in found.unreadable.items()]
        if lines:
            print_rows("What is left", ("place", "state", "kind", "where"), lines)
        say("nothing is left" if not lines else f"{len(lines)} findings")
    if not found.is_clean:
        raise typer.Exit(1)


@app.command()
def finish() -> None:
    """Make takedowns of opt-outs, finish what was killed, and remove earlier contents whose time has come."""
    with ProgressBoard() as board:
        done = context.launcher().takedowns.finish(board.add("finishing takedowns", 1))
    context.require_success(done)
    say("all takedowns are done as far as they can be now")


def _match(match: Match) -> dict[str, object]:
    names = ("sample_id", "image_sha256", "crawl_partition", "url", "shard_uri")
    return {"matched_by": match.matched_by, "distance": match.distance, **{name: match.row[name] for name in names}}


def _show(matches: list[Match]) -> None:
    lines: list[list[object]] = [
        [match.matched_by, match.distance, match.row["crawl_partition"], match.row["sample_id"][:12], match.row["url"]]
        for match in matches[:_SHOWN]
    ]
    print_rows("Matches", ("by", "bits", "crawl partition", "sample", "url"), lines, numbers=("bits",))
    if len(matches) > _SHOWN:
        say(f"and {len(matches) - _SHOWN} more (--json lists all)")


def _tell(found: Report, as_json: bool) -> None:
    if as_json:
        return print_json(dataclasses.asdict(found))
    one = found.takedown
    say(
        f"takedown {one.takedown_id}, asked for by {one.requested_by} on {one.requested_at:%Y-%m-%d %H:%M}: {one.reason}"
    )
    say(f"{found.samples} samples, {found.pictures} pictures")
    lines: list[list[object]] = [
        [step.step, step.place, step.told, step.count or "", step.what] for step in found.steps
    ]
    print_rows("What was done", ("step", "where", "state", "count", "what"), lines, numbers=("count",))
    if found.scores:
        say(f"{found.scores} scores are of tainted checkpoints")
    if not found.is_finished:
        say("not finished: veclip takedown finish")
