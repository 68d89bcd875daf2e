"""The one place where graph and resources meet. ``build_defs`` takes other resources, for tests and deployments."""

from __future__ import annotations

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
from veclip_pipelines.errors import UsageError


def build_defs(
    *,
    home: HomeResource | None = None,
    delta_lake: DeltaLakeResource | None = None,
    duckdb: DuckDBResource | None = None,
    dask: DaskClusterResource | None = None,
    engines: EnginesResource | None = None,
    mlflow: MlflowResource | None = None,
) -> dg.Definitions:
    """The graph with the embedded default resources; a keyword replaces one of them.

    What depends on another resource is built on the one that is given: with another home there is one warehouse, that home's.

    Raises:
        UsageError: two of the resources given would use different homes or warehouses.
    """
    if duckdb is not None and delta_lake is None:
        delta_lake = duckdb.delta_lake
    given = {"delta_lake": delta_lake, "dask": dask, "engines": engines, "mlflow": mlflow}
    homes = [resource.home for resource in given.values() if resource is not None]
    home = home or (homes[0] if homes else HomeResource())
    apart = [name for name, resource in given.items() if resource is not None and resource.home != home]
    if duckdb is not None and duckdb.delta_lake != delta_lake:
        apart.append("duckdb")
    if apart:
        raise UsageError(
            f"{', '.join(apart)} would use another home or warehouse than the other resources: give all the same"
        )
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
