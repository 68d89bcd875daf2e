"""veclip materialize: bring partitions and recipes up to date, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import ProgressBoard, describe_failure, print_json, print_rows, say
from veclip_pipelines.config.settings import DEFAULT_CONCEPT_ENGINE, DEFAULT_FUSION_ENGINE
from veclip_pipelines.errors import UsageError, VeclipError

if TYPE_CHECKING:
    from assets.orchestration.job_runs import RunDone
    from assets.orchestration.launching import Launcher

ConceptEngine = Annotated[
    str, typer.Option(envvar="VECLIP_CONCEPT_ENGINE", help="Engine profile for concept captions.")
]
FusionEngine = Annotated[str, typer.Option(envvar="VECLIP_FUSION_ENGINE", help="Engine profile for the fusion.")]


@dataclass(frozen=True)
class StaleAssets:
    """What there is to do for one crawl partition or recipe: the stale assets, in order."""

    key: str
    is_recipe: bool
    assets: tuple[str, ...]


def materialize(
    partition: Annotated[
        list[str] | None, typer.Option(help="Crawl partition; repeat for several. Default: all.")
    ] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="Recipe; repeat for several. Default: all.")] = None,
    concept_engine: ConceptEngine = DEFAULT_CONCEPT_ENGINE,
    fusion_engine: FusionEngine = DEFAULT_FUSION_ENGINE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is stale, and launch nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON.")] = False,
) -> None:
    """Bring crawl partitions and recipes up to date. What is up to date already is left alone.

    With --partition alone, captions are made and no model is trained; with --recipe alone, the other way round.
    """
    launcher = context.launcher()
    partitions = chosen_partitions(launcher, partition, only_recipes=bool(recipe) and not partition)
    recipes = chosen_recipes(recipe, only_partitions=bool(partition) and not recipe)
    if dry_run:
        return _print_plan(plan(launcher, partitions, recipes, concept_engine, fusion_engine), as_json)
    ran = bring_up_to_date(launcher, partitions, recipes, concept_engine, fusion_engine)
    say(f"{ran} runs launched" if ran else "everything is up to date: no run was launched")


def chosen_partitions(launcher: Launcher, named: Sequence[str] | None, *, only_recipes: bool = False) -> list[str]:
    """The crawl partitions that were asked for. Raises UsageError for one that is not registered."""
    known = launcher.crawl.partitions()
    if unknown := set(named or ()) - set(known):
        raise UsageError(
            f"no crawl partition named {', '.join(sorted(unknown))}. Registered: {', '.join(known) or 'none'}. "
            "Register a drop with: veclip crawl add DIR"
        )
    if named:
        return list(named)
    if not known and not only_recipes:
        raise UsageError("no crawl drop is registered yet. Register one with: veclip crawl add DIR")
    return [] if only_recipes else known


def chosen_recipes(named: Sequence[str] | None, *, only_partitions: bool = False) -> list[str]:
    """The recipes that were asked for. Raises UsageError for an unknown one."""
    from veclip_pipelines.config.recipe import recipe_catalogue

    catalogue = recipe_catalogue(context.settings())
    if only_partitions:
        return []
    names = list(named) if named else catalogue.names()
    for name in names:
        catalogue.load(name)
    return names


def plan(
    launcher: Launcher, partitions: Sequence[str], recipes: Sequence[str], concept: str, fusion: str
) -> list[StaleAssets]:
    """What is stale now. A recipe counts as stale if a table that its set is made from is about to change."""
    stale = launcher.stale.captions_of(partitions, concept, fusion) if partitions else {}
    work = [StaleAssets(key, False, tuple(assets)) for key, assets in stale.items()]
    changing = {asset for item in work for asset in item.assets}
    work += [StaleAssets(name, True, tuple(launcher.stale.models(name, changing=changing))) for name in recipes]
    return [item for item in work if item.assets]


def bring_up_to_date(
    launcher: Launcher, partitions: Sequence[str], recipes: Sequence[str], concept: str, fusion: str
) -> int:
    """Launches one run for each stale partition, then one for each stale recipe; returns the number of runs.

    A partition or recipe that fails does not hold up the others.

    Raises:
        VeclipError: at the end, where any run failed.
    """
    # Before anything is launched: an unknown profile or a missing model is wrong use, not a failed run.
    if partitions:
        launcher.configuration.check_engines(concept, fusion)
    with ProgressBoard() as board:
        noted = launcher.configuration.note_changes(partial(board.add, "noting prompts and engine profiles"))
        context.require_success(noted)
        done: dict[str, RunDone] = {}
        # One after the other: two calls of execute_job in threads of one process deadlock in Dagster's logging (tried).
        for key in [item.key for item in plan(launcher, partitions, (), concept, fusion)]:
            # Checked again, as another process may have made it meanwhile.
            if stale := launcher.stale.captions(key, concept, fusion):
                watch = board.add(f"crawl partition {key}", _steps(stale))
                done[f"crawl partition {key}"] = launcher.materialise.captions(key, stale, concept, fusion, watch)
        if partitions and launcher.stale.duplicates():
            done["duplicates"] = launcher.crawl.find_duplicates(board.add("duplicates", _steps(["duplicates"])))
        for name in recipes:
            if stale := launcher.stale.models(name):
                watch = board.add(f"recipe {name}", _steps(stale))
                done[f"recipe {name}"] = launcher.materialise.models(name, stale, watch)
        if any(what.startswith("recipe ") and run.success for what, run in done.items()):
            done["scoreboard"] = launcher.materialise.scoreboard(board.add("scoreboard", _steps(["scoreboard"])))
    if failed := {what: run for what, run in done.items() if not run.success}:
        faults = "\n".join(f"{what}: {describe_failure(run)}" for what, run in failed.items())
        raise VeclipError(f"{len(failed)} of {len(done)} runs failed.\n{faults}")
    return len(done)


def _steps(assets: Sequence[str]) -> int:
    """Steps of a run: each asset, its checks, and the recipe's own version where a set is made."""
    from veclip_pipelines.stages import STAGES

    checked = sum(STAGES[name].is_checked for name in assets if name in STAGES)
    return len(assets) + checked + int("training_sets" in assets)


def _print_plan(work: Sequence[StaleAssets], as_json: bool) -> None:
    if as_json:
        return print_json(
            [
                {
                    "key": item.key,
                    "kind": "recipe" if item.is_recipe else "crawl partition",
                    "stale": item.assets,
                }
                for item in work
            ]
        )
    if not work:
        return say("everything is up to date")
    rows = [["recipe" if item.is_recipe else "crawl partition", item.key, ", ".join(item.assets)] for item in work]
    print_rows("Stale", ("what", "key", "assets to materialise"), rows)
