"""A whole Dagster run of vecap beside the bare loop over the same engine: what plan, Dask, guards, Parquet, commit, checks' inputs,
provenance and Dagster's events cost.

The run is launched by Dagster's own API in this process on a running cluster of one worker; the bare loop answers the same
rows in a process of its own with the same core. Models are loaded beforehand both ways.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench.dask_scaling import _answer_all, _load
from bench.fusion import rows
from bench.outcome import Result
from bench.stage_data import fusion_spec, write_texts
from veclip_pipelines.compute.cluster import cluster_down, cluster_up
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.tables.warehouse import Warehouse


def run(count: int = 512) -> tuple[Result, Mapping[str, str]]:
    """Rows a second of both. ``ratio`` is ours over the bare loop's: 0.95 is an overhead of 5 %."""
    spec = fusion_spec()
    data = rows(count)
    bare = _bare(spec, data)
    with tempfile.TemporaryDirectory() as folder:
        models = os.environ.get("VECLIP_MODELS") or str(Settings.from_env().models)
        os.environ.update(VECLIP_HOME=folder, VECLIP_MODELS=models, DAGSTER_HOME=f"{folder}/dagster_home")
        ours, loop = _by_dagster(spec, data)
    details = {
        "model": spec.profile.model,
        "overhead": f"{1 - ours / bare:.1%}",
        "of it outside of the asset": f"{loop:.1f} s",
    }
    return Result("graph-overhead", "rows/s", count, ours, bare, "bare engine loop", ours / bare), details


def _bare(spec: EngineSpec, data: Sequence[Mapping[str, str]]) -> float:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Barrier(2), context.Event()
    os.environ["OMP_NUM_THREADS"] = "1"
    process: Any = context.Process(target=_answer_all, args=(spec, list(data), ready, go))
    process.start()
    del os.environ["OMP_NUM_THREADS"]
    ready.wait()
    started = time.perf_counter()
    go.set()
    process.join()
    assert process.exitcode == 0
    return len(data) / (time.perf_counter() - started)


def _by_dagster(spec: EngineSpec, data: Sequence[Mapping[str, str]]) -> tuple[float, float]:
    """Rows a second of the run from its start to its end, and the seconds of it that are not the asset's own."""
    import dagster as dg
    from distributed import Client

    from assets.orchestration.launching import prepare_dagster_home
    from veclip_pipelines.definitions import build_defs
    from veclip_pipelines.stages import CRAWL_PARTITION

    settings = Settings.from_env()
    prepare_dagster_home(settings)
    warehouse = Warehouse.at(settings.warehouse)
    write_texts(warehouse, "bench", data)
    cluster = cluster_up(settings, workers=1, cores=1)
    try:
        with Client(cluster.address) as client:
            client.run(_load, spec)
        with dg.DagsterInstance.get() as instance:
            instance.add_dynamic_partitions(CRAWL_PARTITION, ["bench"])
            job = build_defs(engines=_bench_engines(spec)).resolve_job_def("captions")
            started = time.perf_counter()
            done = job.execute_in_process(
                instance=instance, partition_key="bench", asset_selection=[dg.AssetKey("vecap")], raise_on_error=True
            )
            seconds = time.perf_counter() - started
            (event,) = [e for e in done.all_events if e.is_step_success and e.step_key == "vecap"]
            step = (event.step_success_data.duration_ms or 0) / 1000
    finally:
        cluster_down(settings)
    return len(data) / seconds, seconds - step


def _bench_engines(spec: EngineSpec) -> Any:
    from resources.engines import EnginesResource
    from resources.home import HomeResource

    class BenchEngines(EnginesResource):
        def resolve(self, profile: str, purpose: Any, code_version: str) -> EngineSpec:
            return spec if purpose == "fusion" else super().resolve(profile, purpose, code_version)

    return BenchEngines(home=HomeResource())
