"""The one place where graph and resources meet. ``build_defs`` takes other resources, for tests and deployments."""

from __future__ import annotations

from typing import Any

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


def build_defs(**overrides: Any) -> dg.Definitions:
    """The graph with the embedded default resources; a keyword replaces one of them."""
    delta_lake = overrides.pop("delta_lake", DeltaLakeResource())
    resources: dict[str, Any] = {
        "home": HomeResource(),
        "delta_lake": delta_lake,
        "duckdb": DuckDBResource(delta_lake=delta_lake),
        "dask": DaskClusterResource(),
        "engines": EnginesResource(),
        "mlflow": MlflowResource(),
        **overrides,
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
        # A run is already a process, its steps run one after another, and models live in the Dask workers: a process
        # for each step would only start Python and import Dagster again, 2.5 s each (docs/decisions/006).
        executor=dg.in_process_executor,
    )


defs = build_defs()


def job_named(name: str) -> dg.JobDefinition:
    """One job by name: Dagster's step processes find it by this function."""
    return defs.resolve_job_def(name)
