"""Indexing an img2dataset drop against reading and decoding it with webdataset: same files, same cores, same run.

Ours verifies, hashes (SHA-256 and perceptual), cleans and flags every entry, tells its language and writes a Delta partition;
webdataset reads the tars and decodes each picture. Peak memory of our workers is measured at a tenth of the size too.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench.crawl_data import write_img2dataset_drop
from bench.outcome import Result
from bench.peers import run_peer
from veclip_pipelines.compute.cluster import cluster_down, cluster_up
from veclip_pipelines.compute.fanout import DaskRunner
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.crawl.index import Crawl, index_drop
from veclip_pipelines.tables.warehouse import Warehouse

if TYPE_CHECKING:
    from distributed import Client

_PER_SHARD = 1_000


def run(count: int = 50_000) -> tuple[Result, dict[str, str]]:
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        folder = write_img2dataset_drop(Path(scratch) / "drop", count, _PER_SHARD)
        small = write_img2dataset_drop(Path(scratch) / "small", count // 10, _PER_SHARD)
        _warm_up_cache(folder)
        peer = run_peer("webdataset_read.py", str(folder), str(cores))
        small_memory, _ = _index(small, Path(scratch) / "home-small", cores)
        memory, seconds = _index(folder, Path(scratch) / "home", cores)
    ours, theirs = count / seconds, peer["count"] / peer["seconds"]
    assert peer["count"] == count
    result = Result(
        "index-drop", "pictures/s", count, ours, theirs, f"webdataset read and decode, {cores} processes", ours / theirs
    )
    details = {
        f"peak memory of the workers at {count}": f"{memory / 2**20:.0f} MiB",
        f"peak memory of the workers at {count // 10}": f"{small_memory / 2**20:.0f} MiB",
        "memory ratio": f"{memory / small_memory:.3f}",
    }
    return result, details


def _warm_up_cache(folder: Path) -> None:
    """Both read from the page cache: it is the work that is compared."""
    for path in folder.iterdir():
        path.read_bytes()


def _index(folder: Path, home: Path, workers: int) -> tuple[float, float]:
    """Peak memory in bytes of the Dask workers, and seconds."""
    settings = Settings.from_env({"VECLIP_HOME": str(home)})
    home.mkdir()
    cluster = cluster_up(settings, workers)
    try:
        from distributed import Client

        with Client(cluster.address) as client, _Memory(cluster.processes[1][0]) as memory:
            warm_up(client, home, cluster.workers)
            crawl = Crawl(Warehouse.at(settings.warehouse), "p", inspect_drop(str(folder)), settings.shards)
            started = time.perf_counter()
            index_drop(crawl, DaskRunner(client, "bench"), properties={})
            seconds = time.perf_counter() - started
        return memory.peak, seconds
    finally:
        cluster_down(settings)


def warm_up(client: Client, home: Path, workers: int) -> None:
    """Indexes a small drop: modules and models are loaded once in a worker's life, which is long."""
    folder = write_img2dataset_drop(home / "warm-up", 200 * workers, 100)
    crawl = Crawl(
        Warehouse.at(str(home / "warm-up-warehouse")), "p", inspect_drop(str(folder)), str(home / "warm-up-shards")
    )
    index_drop(crawl, DaskRunner(client, "warm-up"), properties={})


class _Memory:
    """Peak of the memory that the workers' parent and its children hold together."""

    def __init__(self, pid: int) -> None:
        self.peak = 0.0
        self._parent = psutil.Process(pid)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            family = [self._parent, *self._parent.children(recursive=True)]
            self.peak = max(self.peak, sum(process.memory_info().rss for process in family))
