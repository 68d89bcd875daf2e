"""Launching runs from a process that is not Dagster's own: the command line's way into the graph.

A run goes through the instance and Dagster's executor, so that the UI's history and the tables agree.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from assets.inputs import (
    DEFAULT_CONCEPT,
    DEFAULT_FUSION,
    checkpoint_inputs,
    concept_engine,
    concept_inputs,
    fusion_engine,
    raw_crawl_inputs,
    score_inputs,
    training_set_inputs,
    vecap_inputs,
)
from assets.jobs import CAPTIONS, CONFIGURATION, CRAWL_ASSETS, MODELS, RECIPE_ASSETS, REGISTER
from assets.materialisation import LAUNCHED_BY_TAG
from assets.partitions import CRAWL, RECIPE
from assets.sensors import detect_configuration_changes
from resources.home import HomeResource
from veclip_pipelines.crawl.drops import list_drops
from veclip_pipelines.errors import UsageError, VeclipError
from veclip_pipelines.lineage.provenance import is_current
from veclip_pipelines.recipe import recipe_catalogue
from veclip_pipelines.settings import Settings
from veclip_pipelines.tables.warehouse import Warehouse

_DEFINITIONS = "veclip_pipelines.definitions"
_POLL_SECONDS = 0.3
_SHIPPED = (
    Path(__file__).parents[1] / "veclip_pipelines/dagster.yaml",
    Path(__file__).parents[1] / "dagster_home/dagster.yaml",
)


@dataclass(frozen=True)
class StepSeen:
    """A step as the run's log shows it: started, or ended with a duration in seconds."""

    step: str
    state: str
    seconds: float | None = None
    message: str = ""


@dataclass(frozen=True)
class RunDone:
    """A run that has ended."""

    run_id: str
    success: bool
    steps: Mapping[str, float]
    error: str


Watch = Callable[[StepSeen], None]


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
    """

    def __init__(self, settings: Settings, warehouse: Warehouse, user: str) -> None:
        prepare_dagster_home(settings)
        self._settings = settings
        self._warehouse = warehouse
        self._user = user
        self.instance = dg.DagsterInstance.get()

    def register(self, uri: str, crawl_partition: str, *, replace: bool, watch: Watch) -> RunDone:
        """Registers a crawl drop; the run looks at it again and does the writing."""
        config = {"uri": uri, "crawl_partition": crawl_partition, "replace": replace}
        return self._run(REGISTER, watch, run_config={"ops": {"register_drop_op": {"config": config}}})

    def note_configuration(self, watch: Watch) -> RunDone | None:
        """Materialises prompts and engine profiles that changed, and adds partitions for new recipes."""
        changes = detect_configuration_changes(self.instance, HomeResource())
        if changes.new_recipes:
            self.instance.add_dynamic_partitions(RECIPE, list(changes.new_recipes))
        if not changes.assets:
            return None
        return self._run(CONFIGURATION, watch, assets=[dg.AssetKey(list(path)) for path in changes.assets])

    def crawl_partitions(self) -> list[str]:
        """Crawl partitions with a registered drop. One that Dagster does not know of, after a crash, is added."""
        keys = [str(row["crawl_partition"]) for row in list_drops(self._warehouse)]
        self.instance.add_dynamic_partitions(CRAWL, keys)
        return keys

    def stale_captions(self, partition: str, concept_profile: str, fusion_profile: str) -> list[str]:
        """The crawl assets of a partition that are stale, each with all that is downstream of it.

        Raises:
            UsageError: an unknown profile or partition. ModelMissingError: a model that is not installed.
        """
        concept, fusion = (
            concept_engine(self._settings, concept_profile),
            fusion_engine(self._settings, fusion_profile),
        )
        inputs = {
            "raw_crawl": lambda: raw_crawl_inputs(self._warehouse, partition),
            "concept_captions": lambda: concept_inputs(self._warehouse, partition, concept),
            "vecap": lambda: vecap_inputs(self._warehouse, partition, fusion, concept),
        }
        return self._stale(CRAWL_ASSETS, partition, inputs)

    def stale_models(self, recipe: str, *, assume_stale: bool = False) -> list[str]:
        """The recipe assets that are stale, each with all that is downstream of it.

        Args:
            assume_stale: for a plan: whether a crawl partition that the recipe takes is about to change.
        """
        if assume_stale:
            return list(RECIPE_ASSETS)
        inputs = {
            "training_sets": lambda: training_set_inputs(self._settings, self._warehouse, recipe).versions,
            "checkpoints": lambda: checkpoint_inputs(self._settings, self._warehouse, recipe),
            "benchmark_scores": lambda: score_inputs(self._settings, self._warehouse, recipe),
        }
        return self._stale(RECIPE_ASSETS, recipe, inputs)

    def captions(
        self, partition: str, assets: Sequence[str], concept_profile: str, fusion_profile: str, watch: Watch
    ) -> RunDone:
        """Materialises crawl assets of one partition."""
        config: dict[str, object] = {}
        if "concept_captions" in assets:
            config["concept_captions"] = {"config": {"engine_profile": concept_profile}}
        if "vecap" in assets:
            config["vecap"] = {"config": {"engine_profile": fusion_profile, "concept_profile": concept_profile}}
        keys = [dg.AssetKey(asset) for asset in assets]
        return self._run(CAPTIONS, watch, assets=keys, partition=partition, run_config={"ops": config})

    def models(self, recipe: str, assets: Sequence[str], watch: Watch) -> RunDone:
        """Materialises recipe assets of one recipe, and the recipe's own version where a set is made."""
        recipe_catalogue(self._settings).load(recipe)
        self.instance.add_dynamic_partitions(RECIPE, [recipe])
        names = ["recipes", *assets] if "training_sets" in assets else list(assets)
        return self._run(MODELS, watch, assets=[dg.AssetKey(name) for name in names], partition=recipe)

    def _stale(
        self, order: Sequence[str], partition: str, inputs: Mapping[str, Callable[[], dict[str, str]]]
    ) -> list[str]:
        for place, asset in enumerate(order):
            try:
                current = is_current(self._warehouse, asset, partition, inputs[asset]())
            except UsageError:
                raise
            except VeclipError:
                # What it is made from is not there yet: that is found out when it runs, and said there.
                current = False
            if not current:
                return list(order[place:])
        return []

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
        watcher = _Watcher(self.instance, self._user, watch)
        with watcher:
            result = dg.execute_job(
                reconstructable,
                self.instance,
                run_config={**quiet, **(run_config or {})},
                tags={**tags, _WATCH_TAG: watcher.token},
                asset_selection=assets,
                raise_on_error=False,
            )
        watcher.drain(result.run_id)
        return RunDone(result.run_id, result.success, watcher.durations, watcher.error)


_WATCH_TAG = "veclip/launch"


class _Watcher:
    """Follows a run's event log from beside it, as execute_job returns only at its end."""

    def __init__(self, instance: dg.DagsterInstance, user: str, watch: Watch) -> None:
        self.token = f"{user}-{time.time_ns()}"
        self.durations: dict[str, float] = {}
        self.error = ""
        self._instance = instance
        self._watch = watch
        self._cursor: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "_Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def drain(self, run_id: str) -> None:
        """Reads what the log has got since the last look."""
        while True:
            connection = self._instance.get_records_for_run(run_id, cursor=self._cursor, limit=500)
            for record in connection.records:
                self._see(record.event_log_entry)
            self._cursor = connection.cursor
            if not connection.has_more:
                return

    def _follow(self) -> None:
        run_id: str | None = None
        while not self._stop.wait(_POLL_SECONDS):
            if run_id is None:
                runs = self._instance.get_runs(dg.RunsFilter(tags={_WATCH_TAG: self.token}), limit=1)
                run_id = runs[0].run_id if runs else None
            if run_id is not None:
                self.drain(run_id)

    def _see(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None or event.step_key is None:
            if event is not None and event.is_job_failure and not self.error:
                self.error = event.message or ""
            return
        if event.is_step_start:
            self._watch(StepSeen(event.step_key, "started"))
        elif event.is_step_success:
            seconds = (event.step_success_data.duration_ms or 0) / 1000
            self.durations[event.step_key] = seconds
            self._watch(StepSeen(event.step_key, "done", seconds))
        elif event.is_step_failure:
            self.error = self.error or _root_cause(event)
            self._watch(StepSeen(event.step_key, "failed", message=_root_cause(event)))


def _root_cause(event: dg.DagsterEvent) -> str:
    """The innermost message of a failed step, without its traceback: that is in the UI."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else (event.message or "")


__all__ = ["DEFAULT_CONCEPT", "DEFAULT_FUSION", "Launcher", "RunDone", "StepSeen", "prepare_dagster_home"]
