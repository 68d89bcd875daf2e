"""veclip backfill: bring many crawl partitions up to date, after an estimate of what that will take."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import print_json, print_rows, say
from veclip_pipelines.commands.materialize import ConceptEngine, FusionEngine
from veclip_pipelines.commands.supervisor import daemon
from veclip_pipelines.config.settings import DEFAULT_CONCEPT_ENGINE, DEFAULT_FUSION_ENGINE
from veclip_pipelines.errors import UsageError, VeclipError

if TYPE_CHECKING:
    from assets.orchestration.backfills import BackfillState
    from assets.orchestration.launching import Launcher
    from veclip_pipelines.planning.estimates import Estimate

_POLL_SECONDS = 1.0
#: Seconds within which a daemon gives a sign of life, if there is one.
_START_SECONDS = 120.0


def backfill(
    select: Annotated[
        str, typer.Option(help="Assets, in Dagster's selection syntax: vecap, +vecap (with all upstream), raw_crawl+.")
    ] = "+vecap",
    partition: Annotated[
        list[str] | None,
        typer.Option(help="Crawl partition or pattern (cc-2024-*); repeat for several. Default: all."),
    ] = None,
    concept_engine: ConceptEngine = DEFAULT_CONCEPT_ENGINE,
    fusion_engine: FusionEngine = DEFAULT_FUSION_ENGINE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the estimate, and launch nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it starts.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON.")] = False,
) -> None:
    """Materialise what is stale in many crawl partitions, one run per partition, several at a time.

    First prints how many partitions, rows, hours and bytes this comes to, by the rates measured so far. Ctrl-C cancels
    the backfill and its work on the Dask cluster. A partition that fails does not hold up the others.
    """
    from veclip_pipelines.stages import caption_stages

    launcher = context.launcher()
    todo = _stale(launcher, _chosen(launcher, partition), select, concept_engine, fusion_engine)
    estimates = _estimates(todo)
    if dry_run and as_json:
        return print_json([vars(item) for item in estimates])
    if not todo:
        return say("everything that was selected is up to date")
    _say_estimates(estimates)
    if dry_run:
        return None
    if not yes and not typer.confirm("Start it?"):
        raise UsageError("not started")
    if any(stage.name in todo for stage in caption_stages()):
        launcher.configuration.check_engines(concept_engine, fusion_engine)
    with daemon(context.settings(), running=launcher.backfills.daemon_runs()):
        state = _follow(launcher, launcher.backfills.request(todo, concept_engine, fusion_engine))
    if not state.success:
        raise VeclipError(_failure(state))
    say(f"done: {sum(state.runs.values())} runs")
    return None


def _chosen(launcher: Launcher, patterns: Sequence[str] | None) -> list[str]:
    known: list[str] = launcher.crawl.partitions()
    if not known:
        raise UsageError("no crawl drop is registered yet. Register one with: veclip crawl add DIR")
    if not patterns:
        return list(known)
    unknown = [pattern for pattern in patterns if not any(fnmatchcase(key, pattern) for key in known)]
    if unknown:
        raise UsageError(f"no crawl partition is named {', '.join(unknown)}. Registered: {', '.join(known)}.")
    return [key for key in known if any(fnmatchcase(key, pattern) for pattern in patterns)]


def _stale(launcher: Launcher, keys: Sequence[str], select: str, concept: str, fusion: str) -> dict[str, list[str]]:
    """For each selected asset, the partitions in which it is stale."""
    from veclip_pipelines.stages import CRAWL_PARTITION, names_of

    selected = launcher.backfills.select(select, names_of(CRAWL_PARTITION))
    todo: dict[str, list[str]] = {}
    for key, stale in launcher.stale.captions_of(keys, concept, fusion).items():
        for asset in stale:
            if asset in selected:
                todo.setdefault(asset, []).append(key)
    return todo


def _estimates(todo: Mapping[str, Sequence[str]]) -> list[Estimate]:
    from veclip_pipelines.crawl.drops import list_drops
    from veclip_pipelines.planning.estimates import estimate
    from veclip_pipelines.stages import CRAWL_PARTITION, names_of

    entries = {drop.crawl_partition: drop.entries for drop in list_drops(context.warehouse())}
    return estimate(context.warehouse(), names_of(CRAWL_PARTITION), todo, entries)


def _say_estimates(estimates: Sequence[Estimate]) -> None:
    rows = [
        [
            item.asset,
            item.partitions,
            "unknown" if item.rows is None else item.rows,
            "unknown" if item.hours is None else f"{item.hours:.2f}",
            "unknown" if item.gigabytes is None else f"{item.gigabytes:.3f}",
            item.measured_on or "nothing yet",
        ]
        for item in estimates
    ]
    print_rows(
        "Backfill", ("asset", "partitions", "rows", "hours", "GB", "measured on"), rows,
        numbers=("partitions", "rows", "hours", "GB"),
    )  # fmt: skip
    hours = [item.hours for item in estimates]
    if None not in hours:
        say(
            f"in total about {sum(hour or 0 for hour in hours):.2f} hours, one run after the other, at the rates measured here"
        )


def _follow(launcher: Launcher, backfill_id: str) -> BackfillState:
    """Waits for the end and shows progress. Ctrl-C cancels the backfill and waits until that is done."""
    say(f"backfill {backfill_id}")
    said = ""
    cancelling = False
    started = time.monotonic()
    while True:
        try:
            state = launcher.backfills.state(backfill_id)
            line = ", ".join(f"{count} {status.lower()}" for status, count in sorted(state.runs.items()))
            if line and line != said:
                say(f"runs: {line}")
                said = line
            if state.ended:
                return state
            if not state.runs and time.monotonic() - started > _START_SECONDS and not launcher.backfills.daemon_runs():
                launcher.backfills.cancel(backfill_id)
                raise VeclipError("no Dagster daemon works on the backfill: it was ended meanwhile. Run it again.")
            time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            if cancelling:
                raise
            cancelling = True
            say("cancelling; press Ctrl-C again to leave that to the daemon")
            launcher.backfills.cancel(backfill_id)


def _failure(state: BackfillState) -> str:
    failed = "\n".join(f"{key}: run {run_id}" for key, run_id in sorted(state.failed.items()))
    told = "was cancelled" if state.status == "CANCELED" else f"ended as {state.status}"
    return (
        f"the backfill {told}. {state.error}\n{failed}\nThe Dagster UI has each run's log."
        if failed
        else f"the backfill {told}. {state.error}"
    )
