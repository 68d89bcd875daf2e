"""The one place where graph and resources meet. ``build_defs`` takes other resources, for tests and deployments."""

from __future__ import annotations

import dagster as dg

from assets.benchmark_scores import benchmark_scores
from assets.checkpoints import checkpoints
from assets.concept_captions import concept_captions
from assets.configuration import configuration_assets
from assets.duplicates import duplicates
from assets.experiment import experiment_assets
from assets.orchestration.checks import asset_checks
from assets.orchestration.jobs import jobs
from assets.orchestration.pruning import prune_schedule
from assets.orchestration.sensors import sensors
from assets.orchestration.takedowns import takedown_schedules
from assets.raw_crawl import raw_crawl
from assets.scoreboard import scoreboard
from assets.training_sets import training_sets
from assets.vecap import vecap
from assets.warehouse_audit import audit, audit_schedule
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.duckdb import DuckDBResource
from resources.engines import EnginesResource
from resources.home import HomeResource
from resources.mlflow import MlflowResource


def build_defs(
    *,
    home: HomeResource | None = None,
    delta_lake: DeltaLakeResource | None = None,
    duckdb: DuckDBResource | None = None,
    dask: DaskClusterResource | None = None,
    engines: EnginesResource | None = None,
    mlflow: MlflowResource | None = None,
) -> dg.Definitions:
    """The graph with the embedded default resources; a keyword puts another resource in one's place.

    What depends on another resource is built on the one that is given: with another home there is one warehouse, that home's.
    """
    home = home or HomeResource()
    delta_lake = delta_lake or DeltaLakeResource(home=home)
    resources = {
        "home": home,
        "delta_lake": delta_lake,
        "duckdb": duckdb or DuckDBResource(delta_lake=delta_lake),
        "dask": dask or DaskClusterResource(home=home),
        "engines": engines or EnginesResource(home=home),
        "mlflow": mlflow or MlflowResource(home=home),
    }
    return dg.Definitions(
        assets=[
            *configuration_assets,
            raw_crawl,
            duplicates,
            concept_captions,
            vecap,
            training_sets,
            checkpoints,
            benchmark_scores,
            scoreboard,
            audit,
            *experiment_assets,
        ],
        asset_checks=asset_checks,
        jobs=jobs,
        schedules=[*takedown_schedules, audit_schedule, prune_schedule],
        sensors=sensors,
        resources=resources,
        # A run is a process already, its steps follow one another, and models live in the Dask workers: a process for each
        # step would only start Python and import Dagster again, 2.5 s each (docs/decisions/006).
        executor=dg.in_process_executor,
    )


defs = build_defs()


def job_named(name: str) -> dg.JobDefinition:
    """One job by name: Dagster's step processes find it again by this function."""
    return defs.resolve_job_def(name)
