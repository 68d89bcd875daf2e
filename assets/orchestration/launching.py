"""Launching runs from a process that is not Dagster's own: the command line's way into the graph.

A run goes through the instance and Dagster's executor, so that the UI's history and the tables agree.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from assets.orchestration.backfills import (
    BackfillState,
    backfill_state,
    cancel_backfill,
    daemon_runs,
    forget_daemon,
    request_backfill,
)
from assets.orchestration.jobs import (
    CAPTIONS,
    CONFIGURATION,
    DUPLICATES,
    EXPERIMENT,
    INDEX,
    MODELS,
    REGISTER,
    RETIRE,
    ROLL_BACK,
    SCOREBOARD,
)
from assets.orchestration.pruning import PRUNE, prunable
from assets.orchestration.sensors import detect_configuration_changes
from assets.orchestration.takedowns import FINISH, TAKE_DOWN
from assets.shared.materialisation import LAUNCHED_BY_TAG
from assets.shared.run_log import LAUNCH_TAG, StepSeen, Watch, Watcher, end_dead_runs, launch_token
from assets.warehouse_audit import materialised
from resources.home import HomeResource
from veclip_pipelines.audit.record_checks import Materialised
from veclip_pipelines.config.recipe import recipe_catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import list_drops
from veclip_pipelines.errors import UsageError
from veclip_pipelines.planning.inputs import concept_engine, fusion_engine
from veclip_pipelines.planning.staleness import Staleness
from veclip_pipelines.pruning.files import Prunable, Retention
from veclip_pipelines.stages import CRAWL_PARTITION, RECIPE, names_of
from veclip_pipelines.tables.warehouse import Warehouse

_DEFINITIONS = "veclip_pipelines.definitions"
_SHIPPED = (
    Path(__file__).parents[2] / "veclip_pipelines/dagster.yaml",
    Path(__file__).parents[2] / "dagster_home/dagster.yaml",
)


@dataclass(frozen=True)
class RunDone:
    """A run that has ended."""

    run_id: str
    success: bool
    steps: Mapping[str, float]
    error: str


def prepare_dagster_home(settings: Settings) -> None:
    """Makes DAGSTER_HOME with the shipped dagster.yaml where it has none, and the environment that all processes share."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    if not (settings.dagster_home / "dagster.yaml").exists():
        shutil.copyfile(next(path for path in _SHIPPED if path.is_file()), settings.dagster_home / "dagster.yaml")
    os.environ.update(settings.environment())


class Launcher:
    """Runs jobs on the instance of one installation.

    Attributes:
        user: who launches; it is written into each run's tags and the provenance.
        stale: tells what is.
    """

    def __init__(self, settings: Settings, warehouse: Warehouse, user: str) -> None:
        prepare_dagster_home(settings)
        self._settings = settings
        self._warehouse = warehouse
        self._user = user
        self.stale = Staleness(settings, warehouse)
        self.instance = dg.DagsterInstance.get()

    def register(self, uri: str, crawl_partition: str, *, replace: bool, watch: Watch) -> RunDone:
        """Registers a crawl drop; the run looks at it again and does the writing."""
        config = {"uri": uri, "crawl_partition": crawl_partition, "replace": replace}
        return self._run(REGISTER, watch, run_config={"ops": {"register_drop_op": {"config": config}}})

    def note_configuration(self, begin: Callable[[int], Watch]) -> RunDone | None:
        """Materialises prompts and engine profiles that changed, and adds partitions for new recipes.

        Args:
            begin: called with the number of steps where there is anything to do.
        """
        changes = detect_configuration_changes(self.instance, HomeResource())
        if changes.new_recipes:
            self.instance.add_dynamic_partitions(RECIPE, list(changes.new_recipes))
        if not changes.assets:
            return None
        keys = [dg.AssetKey(list(path)) for path in changes.assets]
        return self._run(CONFIGURATION, begin(len(keys)), assets=keys)

    def crawl_partitions(self) -> list[str]:
        """Crawl partitions with a registered drop. One that Dagster does not know of, after a crash, is added."""
        keys = [drop.crawl_partition for drop in list_drops(self._warehouse)]
        self.instance.add_dynamic_partitions(CRAWL_PARTITION, keys)
        return keys

    def check_engines(self, concept_profile: str, fusion_profile: str) -> None:
        """Raises UsageError for an unknown profile, ModelMissingError for a model that is not installed."""
        concept_engine(self._settings, concept_profile)
        fusion_engine(self._settings, fusion_profile)

    def captions(
        self, partition: str, assets: Sequence[str], concept_profile: str, fusion_profile: str, watch: Watch
    ) -> RunDone:
        """Materialises crawl assets of one partition."""
        config = _engine_config(assets, concept_profile, fusion_profile)
        keys = [dg.AssetKey(asset) for asset in assets]
        return self._run(CAPTIONS, watch, assets=keys, partition=partition, run_config={"ops": config})

    def index(self, partition: str, retry_reasons: Sequence[str], watch: Watch) -> RunDone:
        """Materialises raw_crawl of one partition: all of it, or only the rows rejected for one of these reasons."""
        config = {"ops": {"raw_crawl": {"config": {"retry_reasons": list(retry_reasons)}}}}
        return self._run(INDEX, watch, assets=[dg.AssetKey("raw_crawl")], partition=partition, run_config=config)

    def scoreboard(self, watch: Watch) -> RunDone:
        """Writes the scoreboard anew."""
        return self._run(SCOREBOARD, watch, assets=[dg.AssetKey("scoreboard")])

    def experiment(self, asset: str, watch: Watch, *, small: bool) -> RunDone:
        """Materialises the experiment's data or its report."""
        config = {"ops": {asset: {"config": {"small": small}}}}
        return self._run(EXPERIMENT, watch, assets=[dg.AssetKey(asset)], run_config=config)

    def roll_back(self, partition: str, to_run: str, watch: Watch) -> RunDone:
        """Puts a crawl partition back to an earlier content, and pins it there."""
        config = {"crawl_partition": partition, "run_id": to_run}
        return self._run(ROLL_BACK, watch, run_config={"ops": {"roll_back_op": {"config": config}}})

    def retire(self, partition: str, watch: Watch) -> RunDone:
        """Takes a crawl partition out of use."""
        return self._run(RETIRE, watch, run_config={"ops": {"retire_op": {"config": {"crawl_partition": partition}}}})

    def materialised(self) -> list[Materialised]:
        """The newest materialisation of each partition, as Dagster knows it."""
        return materialised(self.instance)

    def databases(self) -> list[str]:
        """SQLAlchemy's URLs of the databases that Dagster keeps its runs and events in, where they are no files in DAGSTER_HOME."""
        stores = (self.instance.run_storage, self.instance.event_log_storage, self.instance.schedule_storage)
        # Of Dagster's storages those on a server have it as the attribute that their kind names.
        found = {getattr(store, name, None) for store in stores for name in ("postgres_url", "mysql_url")}
        return sorted(url for url in found if url)

    def take_down(self, takedown_id: str, watch: Watch) -> RunDone:
        """Carries out a takedown that was written down."""
        return self._run(
            TAKE_DOWN, watch, run_config={"ops": {"take_down_op": {"config": {"takedown_id": takedown_id}}}}
        )

    def finish_takedowns(self, watch: Watch) -> RunDone:
        """Makes takedowns of opt-outs, and finishes all that something is left to do for."""
        return self._run(FINISH, watch)

    def prunable(self, retention: Retention) -> list[Prunable]:
        """Runs and files that may go."""
        end_dead_runs(self.instance)
        return prunable(self.instance, self._warehouse, self._settings, retention)

    def prune(self, retention: Retention, watch: Watch) -> RunDone:
        """Removes them."""
        return self._run(PRUNE, watch, run_config={"ops": {"prune_op": {"config": vars(retention)}}})

    def duplicates(self, watch: Watch) -> RunDone:
        """Looks for duplicates over all crawl partitions."""
        return self._run(DUPLICATES, watch, assets=[dg.AssetKey("duplicates")])

    def select(self, selection: str, among: Sequence[str]) -> list[str]:
        """The assets, of some, that a selection in Dagster's syntax names. Raises UsageError where it names none of them."""
        job = dg.build_reconstructable_job(_DEFINITIONS, "job_named", (CAPTIONS,)).get_definition()
        try:
            keys = dg.AssetSelection.from_string(selection).resolve(job.asset_layer.asset_graph)
        except Exception as error:  # its parser raises its own kinds, and whatever follows from a wrong name
            raise UsageError(f"selection {selection!r} is not understood: {error}") from error
        names = {key.to_user_string() for key in keys}
        if not names & set(among):
            raise UsageError(f"selection {selection!r} names none of {', '.join(among)}")
        return [name for name in among if name in names]

    def backfill(self, partitions: Mapping[str, Sequence[str]], concept_profile: str, fusion_profile: str) -> str:
        """Asks the daemon for a backfill over many crawl partitions; its id."""
        assets = [asset for asset in names_of(CRAWL_PARTITION) if asset in partitions]
        config = {"ops": _engine_config(assets, concept_profile, fusion_profile)}
        count = len({key for keys in partitions.values() for key in keys})
        title = f"{', '.join(assets)} of {count} crawl partitions"
        return request_backfill(self.instance, partitions, user=self._user, title=title, run_config=config)

    def backfill_state(self, backfill_id: str) -> BackfillState:
        return backfill_state(self.instance, backfill_id)

    def cancel_backfill(self, backfill_id: str) -> None:
        cancel_backfill(self.instance, backfill_id)

    def daemon_runs(self) -> bool:
        return daemon_runs(self.instance)

    def models(self, recipe: str, assets: Sequence[str], watch: Watch) -> RunDone:
        """Materialises recipe assets of one recipe, and the recipe's own version where a set is made."""
        recipe_catalogue(self._settings).load(recipe)
        self.instance.add_dynamic_partitions(RECIPE, [recipe])
        names = ["recipes", *assets] if "training_sets" in assets else list(assets)
        return self._run(MODELS, watch, assets=[dg.AssetKey(name) for name in names], partition=recipe)

    def _run(
        self,
        job: str,
        watch: Watch,
        *,
        assets: Sequence[dg.AssetKey] | None = None,
        partition: str | None = None,
        run_config: Mapping[str, object] | None = None,
    ) -> RunDone:
        tags = {LAUNCHED_BY_TAG: self._user}
        if partition is not None:
            tags["dagster/partition"] = partition
        reconstructable = dg.build_reconstructable_job(_DEFINITIONS, "job_named", (job,))
        # The run's own log is in the UI; what a terminal shows comes from the watcher.
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        end_dead_runs(self.instance)
        token = launch_token()
        watcher = Watcher(self.instance, token, watch)
        with watcher:
            result = dg.execute_job(
                reconstructable,
                self.instance,
                run_config={**quiet, **(run_config or {})},
                tags={**tags, LAUNCH_TAG: token},
                asset_selection=assets,
                raise_on_error=False,
            )
        watcher.drain(result.run_id)
        return RunDone(result.run_id, result.success, watcher.durations, watcher.error)


def _engine_config(assets: Sequence[str], concept_profile: str, fusion_profile: str) -> dict[str, object]:
    """Run config that chooses the engines."""
    config: dict[str, object] = {}
    if "concept_captions" in assets:
        config["concept_captions"] = {"config": {"engine_profile": concept_profile}}
    if "vecap" in assets:
        config["vecap"] = {"config": {"engine_profile": fusion_profile, "concept_profile": concept_profile}}
    return config


__all__ = ["Launcher", "RunDone", "StepSeen", "forget_daemon", "prepare_dagster_home"]
