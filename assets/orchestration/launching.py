"""The command line's way into the graph: everything that it runs in Dagster, it runs through a :class:`Launcher`."""

import os
import shutil
from pathlib import Path

import dagster as dg

from assets.orchestration.backfills import Backfills
from assets.orchestration.job_runs import JobRuns
from assets.orchestration.launches import (
    ConfigurationLaunches,
    CrawlLaunches,
    MaterialisationLaunches,
    TakedownLaunches,
    UpkeepLaunches,
)
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.planning.staleness import Staleness
from veclip_pipelines.tables.warehouse import Warehouse

_SHIPPED = (
    Path(__file__).parents[2] / "veclip_pipelines/dagster.yaml",
    Path(__file__).parents[2] / "dagster_home/dagster.yaml",
)


def prepare_dagster_home(settings: Settings) -> None:
    """Makes DAGSTER_HOME, with the shipped dagster.yaml if it has none, and the environment that all processes share."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    if not (settings.dagster_home / "dagster.yaml").exists():
        shutil.copyfile(next(path for path in _SHIPPED if path.is_file()), settings.dagster_home / "dagster.yaml")
    os.environ.update(settings.environment())


class Launcher:
    """Launches runs on the instance of one installation, in the name of one user.

    Attributes:
        stale: finds what is stale.
        configuration: prompts, engine profiles, recipes.
        crawl: crawl partitions from their drops to raw_crawl.
        materialise: captions of crawl partitions, models of recipes.
        backfills: many crawl partitions at once, by Dagster's daemon.
        takedowns: recorded takedowns.
        upkeep: pruning, and what Dagster knows.
    """

    def __init__(self, settings: Settings, warehouse: Warehouse, user: str) -> None:
        prepare_dagster_home(settings)
        runs = JobRuns(dg.DagsterInstance.get(), user)
        self.stale = Staleness(settings, warehouse)
        self.configuration = ConfigurationLaunches(runs, settings)
        self.crawl = CrawlLaunches(runs, warehouse)
        self.materialise = MaterialisationLaunches(runs, settings)
        self.backfills = Backfills(runs.instance, user)
        self.takedowns = TakedownLaunches(runs)
        self.upkeep = UpkeepLaunches(runs, warehouse, settings)
