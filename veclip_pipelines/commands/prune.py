"""veclip prune: remove what nothing needs any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import ProgressBoard, err, out, print_json, print_rows, say
from veclip_pipelines.errors import UsageError
from veclip_pipelines.pruning.files import Retention

if TYPE_CHECKING:
    from veclip_pipelines.pruning.files import Prunable

_DEFAULT = Retention()


def prune(
    runs_days: Annotated[
        float, typer.Option(min=0, help="Days that Dagster keeps the record of a run; after that, table runs has it.")
    ] = _DEFAULT.runs_days,
    earlier_days: Annotated[
        float, typer.Option(min=0, help="Days that replaced contents are kept, for crawl rollback.")
    ] = _DEFAULT.earlier_days,
    scratch_hours: Annotated[
        float, typer.Option(min=0, help="Hours that files which nothing names are kept.")
    ] = _DEFAULT.scratch_hours,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove old runs (written down first), replaced contents, orphans and scratch. What a training set pins stays."""
    launcher = context.launcher()
    retention = Retention(runs_days, earlier_days, scratch_hours)
    found = launcher.upkeep.prunable(retention)
    if as_json:
        print_json([vars(one) for one in found])
    else:
        _show(found)
    if dry_run or not found:
        if not as_json:
            say(f"{len(found)} things would go; nothing was changed" if found else "nothing to prune")
        return
    if not yes and not typer.confirm(f"Remove these {len(found)}?", err=as_json):
        raise UsageError("nothing was changed")
    with ProgressBoard(err if as_json else out) as board:
        done = launcher.upkeep.prune(retention, board.add("pruning", 1))
    context.require_success(done)
    if not as_json:
        say("pruned")


def _show(found: list[Prunable]) -> None:
    kinds = dict.fromkeys(one.kind for one in found)
    lines: list[list[object]] = []
    for kind in kinds:
        of_kind = [one for one in found if one.kind == kind]
        size = sum(one.size for one in of_kind)
        lines.append([kind, len(of_kind), f"{size / 1e6:.1f}" if size else "", of_kind[0].why])
    if lines:
        print_rows("What may go", ("kind", "count", "MB", "such as"), lines, numbers=("count", "MB"))
