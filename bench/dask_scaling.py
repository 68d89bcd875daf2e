"""Two Dask workers on two cores beside two separate processes: the same engine, rows and cores, without Dask.

Both ways each process has one core; what differs is all that this platform does around the engine: plan, tasks, Parquet, commit.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.fusion import rows
from bench.outcome import Result
from bench.stage_data import concept_spec, fusion_spec, write_texts
from veclip_pipelines.captioning.fusion import fuse_partition
from veclip_pipelines.compute.cluster import cluster_down, cluster_up
from veclip_pipelines.compute.fanout import DaskRunner
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.tables.warehouse import Warehouse

_PROCESSES = 2


def run(count: int = 256) -> tuple[Result, Mapping[str, str]]:
    """Rows a second of a whole partition, from the plan to the commit, models loaded beforehand both ways."""
    from distributed import Client

    spec = fusion_spec()
    data = rows(count)
    peer = max(_two_processes(spec, data) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VECLIP_HOME"] = folder
        settings = Settings.from_env()
        cluster = cluster_up(settings, workers=_PROCESSES, cores=1)
        try:
            with Client(cluster.address) as client:
                client.run(_load, spec)
                ours = max(
                    _partition(DaskRunner(client, f"bench-{turn}"), Path(folder) / str(turn), spec, data)
                    for turn in range(2)
                )
        finally:
            cluster_down(settings)
    result = Result("dask-scaling", "rows/s", count, ours, peer, f"{_PROCESSES} processes without Dask", ours / peer)
    return result, {"model": spec.profile.model, "batches of": str(spec.profile.batch_rows)}


def _partition(runner: DaskRunner, folder: Path, spec: EngineSpec, data: Sequence[Mapping[str, str]]) -> float:
    warehouse = Warehouse.at(str(folder))
    write_texts(warehouse, "bench", data)
    started = time.perf_counter()
    result = fuse_partition(warehouse, spec, concept_spec(), "bench", runner, properties={})
    assert result.computed == len(data)
    return len(data) / (time.perf_counter() - started)


def _load(spec: EngineSpec) -> None:
    from veclip_pipelines.engines.loading import load_engine

    load_engine(spec)


def _two_processes(spec: EngineSpec, data: Sequence[Mapping[str, str]]) -> float:
    """Each half of the batches in a process of its own, from the moment that both have loaded their model."""
    context = multiprocessing.get_context("spawn")
    ready, go = context.Barrier(_PROCESSES + 1), context.Event()
    os.environ["OMP_NUM_THREADS"] = "1"
    workers: list[Any] = [
        context.Process(target=_answer_all, args=(spec, list(data[start::_PROCESSES]), ready, go))
        for start in range(_PROCESSES)
    ]
    for worker in workers:
        worker.start()
    del os.environ["OMP_NUM_THREADS"]
    ready.wait()
    started = time.perf_counter()
    go.set()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return len(data) / (time.perf_counter() - started)


def _answer_all(spec: EngineSpec, data: Sequence[Mapping[str, str]], ready: Any, go: Any) -> None:
    from veclip_pipelines.engines.base import TextBatch
    from veclip_pipelines.engines.loading import answers, load_engine

    load_engine(spec)
    ready.wait()
    go.wait()
    size = spec.profile.batch_rows
    parts = (data[start : start + size] for start in range(0, len(data), size))
    batches = (TextBatch(tuple(part), tuple(values["alt_text"] for values in part)) for part in parts)
    assert sum(len(found) for _, found in answers(spec, batches, lambda: None)) == len(data)
