"""What the command line launches, by topic. Each method runs a job once, or says what such a run would find."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assets.orchestration.crawl_jobs import REGISTER, RETIRE, ROLL_BACK
from assets.orchestration.job_runs import JobRuns, RunDone, engine_config
from assets.orchestration.jobs import CAPTIONS, CONFIGURATION, DUPLICATES, EXPERIMENT, INDEX, MODELS, SCOREBOARD
from assets.orchestration.pruning import PRUNE, prunable
from assets.orchestration.sensors import detect_configuration_changes
from assets.orchestration.takedowns import FINISH, TAKE_DOWN
from assets.shared.run_log import Watch, end_dead_runs
from assets.warehouse_audit import materialised
from veclip_pipelines.audit.record_checks import Materialised
from veclip_pipelines.config.recipe import recipe_catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import list_drops
from veclip_pipelines.planning.inputs import concept_engine, fusion_engine
from veclip_pipelines.pruning.files import Prunable, Retention
from veclip_pipelines.stages import CRAWL_PARTITION, RECIPE
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class ConfigurationLaunches:
    """Prompts, engine profiles and recipes."""

    runs: JobRuns
    settings: Settings

    def note_changes(self, begin: Callable[[int], Watch]) -> RunDone | None:
        """Materialises prompts and engine profiles that changed, and adds partitions for new recipes.

        Args:
            begin: called with the number of steps, if there is anything to do.
        """
        changes = detect_configuration_changes(self.runs.instance, self.settings)
        if changes.new_recipes:
            self.runs.instance.add_dynamic_partitions(RECIPE, list(changes.new_recipes))
        if not changes.assets:
            return None
        assets = ["/".join(path) for path in changes.assets]
        return self.runs.run(CONFIGURATION, begin(len(assets)), assets=assets)

    def check_engines(self, concept_profile: str, fusion_profile: str) -> None:
        """Raises UsageError for an unknown profile, ModelMissingError for a model that is not installed."""
        concept_engine(self.settings, concept_profile)
        fusion_engine(self.settings, fusion_profile)


@dataclass(frozen=True)
class CrawlLaunches:
    """Crawl partitions: which ones exist, and their raw_crawl."""

    runs: JobRuns
    warehouse: Warehouse

    def partitions(self) -> list[str]:
        """Crawl partitions with a registered drop. One that Dagster does not know of because of a crash is added."""
        keys = [drop.crawl_partition for drop in list_drops(self.warehouse)]
        self.runs.instance.add_dynamic_partitions(CRAWL_PARTITION, keys)
        return keys

    def register(self, uri: str, partition: str, *, replace: bool, watch: Watch) -> RunDone:
        """Registers a crawl drop; the run inspects it again and does the writing."""
        config = {"uri": uri, "crawl_partition": partition, "replace": replace}
        return self.runs.run(REGISTER, watch, config={"register_drop_op": config})

    def index(self, partition: str, retry_reasons: Sequence[str], watch: Watch) -> RunDone:
        """Materialises raw_crawl of one partition: all of it, or only the rows rejected for one of these reasons."""
        config = {"raw_crawl": {"retry_reasons": list(retry_reasons)}}
        return self.runs.run(INDEX, watch, assets=["raw_crawl"], partition=partition, config=config)

    def find_duplicates(self, watch: Watch) -> RunDone:
        """Searches for duplicates across all crawl partitions."""
        return self.runs.run(DUPLICATES, watch, assets=["duplicates"])

    def roll_back(self, partition: str, to_run: str, watch: Watch) -> RunDone:
        """Puts a crawl partition back to an earlier content, and pins it there."""
        return self.runs.run(
            ROLL_BACK, watch, config={"roll_back_op": {"crawl_partition": partition, "run_id": to_run}}
        )

    def retire(self, partition: str, watch: Watch) -> RunDone:
        """Retires a crawl partition."""
        return self.runs.run(RETIRE, watch, config={"retire_op": {"crawl_partition": partition}})


@dataclass(frozen=True)
class MaterialisationLaunches:
    """What is made from crawl partitions: captions and, with recipes, models and their scores."""

    runs: JobRuns
    settings: Settings

    def captions(
        self, partition: str, assets: Sequence[str], concept_profile: str, fusion_profile: str, watch: Watch
    ) -> RunDone:
        """Materialises crawl assets of one partition."""
        config = engine_config(assets, concept_profile, fusion_profile)
        return self.runs.run(CAPTIONS, watch, assets=assets, partition=partition, config=config)

    def models(self, recipe: str, assets: Sequence[str], watch: Watch) -> RunDone:
        """Materialises recipe assets of one recipe, and the recipe's own version if a set is made."""
        recipe_catalogue(self.settings).load(recipe)
        self.runs.instance.add_dynamic_partitions(RECIPE, [recipe])
        names = ["recipes", *assets] if "training_sets" in assets else list(assets)
        return self.runs.run(MODELS, watch, assets=names, partition=recipe)

    def scoreboard(self, watch: Watch) -> RunDone:
        """Rewrites the scoreboard."""
        return self.runs.run(SCOREBOARD, watch, assets=["scoreboard"])

    def experiment(self, asset: str, watch: Watch, *, small: bool) -> RunDone:
        """Materialises the experiment's data or its report."""
        return self.runs.run(EXPERIMENT, watch, assets=[asset], config={asset: {"small": small}})


@dataclass(frozen=True)
class TakedownLaunches:
    """Recorded takedowns."""

    runs: JobRuns

    def carry_out(self, takedown_id: str, watch: Watch) -> RunDone:
        """Carries out one of them."""
        return self.runs.run(TAKE_DOWN, watch, config={"take_down_op": {"takedown_id": takedown_id}})

    def finish(self, watch: Watch) -> RunDone:
        """Turns opt-outs into takedowns, and finishes all takedowns that are not complete."""
        return self.runs.run(FINISH, watch)

    def databases(self) -> list[str]:
        """SQLAlchemy URLs of the databases with Dagster's runs and events, if these are not files in DAGSTER_HOME."""
        instance = self.runs.instance
        stores = (instance.run_storage, instance.event_log_storage, instance.schedule_storage)
        # Those of Dagster's storages that are on a server have it in an attribute named after their kind.
        found = {getattr(store, name, None) for store in stores for name in ("postgres_url", "mysql_url")}
        return sorted(url for url in found if url)


@dataclass(frozen=True)
class UpkeepLaunches:
    """Old runs and files, and what was made according to Dagster's own records."""

    runs: JobRuns
    warehouse: Warehouse
    settings: Settings

    def materialised(self) -> list[Materialised]:
        """The newest materialisation of each partition, as Dagster knows it."""
        return materialised(self.runs.instance)

    def prunable(self, retention: Retention) -> list[Prunable]:
        """Runs and files that may be removed."""
        end_dead_runs(self.runs.instance)
        return prunable(self.runs.instance, self.warehouse, self.settings, retention)

    def prune(self, retention: Retention, watch: Watch) -> RunDone:
        """Removes them."""
        return self.runs.run(PRUNE, watch, config={"prune_op": vars(retention)})
