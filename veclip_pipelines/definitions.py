"""The one place where graph and resources meet. ``build_defs`` takes other resources, for tests and deployments."""

from __future__ import annotations

from typing import Any

import dagster as dg

import assets
from assets.orchestration.jobs import jobs
from assets.orchestration.schedules import schedules
from assets.orchestration.sensors import sensors
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
        # Found in the package's modules: a new asset is a new file.
        assets=dg.load_assets_from_package_module(assets),
        asset_checks=dg.load_asset_checks_from_package_module(assets),
        jobs=jobs,
        schedules=schedules,
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
