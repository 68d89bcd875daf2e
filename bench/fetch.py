"""Fetching a table of URLs into tars from a local server: ours against img2dataset at the same concurrency, on all cores.

Both fetch, hash and pack without re-encoding. Ours also verifies each picture, takes its perceptual hash, cleans and flags
the text, tells its language and commits a Delta partition.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path

from bench.crawl_data import run_server, write_url_table
from bench.index_drop import warm_up
from bench.outcome import Result
from bench.peers import run_peer
from veclip_pipelines.compute.cluster import cluster_down, cluster_up
from veclip_pipelines.compute.fanout import DaskRunner
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.crawl.index import Crawl, index_drop
from veclip_pipelines.crawl.policy import CrawlPolicy
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

_CONCURRENCY = 64
_PER_SHARD = 1_000


def run(count: int = 20_000) -> tuple[Result, dict[str, str]]:
    cores = os.cpu_count() or 1
    receive, send = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.get_context("spawn").Process(target=run_server, args=(send,), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{receive.recv()}"
        with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
            folder = write_url_table(Path(scratch) / "drop" / "urls.parquet", url, count)
            arguments = (
                str(folder / "urls.parquet"),
                f"{scratch}/theirs",
                str(_CONCURRENCY),
                str(cores),
                str(_PER_SHARD),
            )
            peer = run_peer("img2dataset_fetch.py", *arguments)
            kept, seconds = _fetch(folder, Path(scratch) / "home", cores)
    finally:
        server.terminate()
    assert kept == peer["count"] == count, f"{kept} kept, {peer['count']} by img2dataset, of {count}"
    ours, theirs = count / seconds, count / peer["seconds"]
    details = {"concurrency": f"{_CONCURRENCY} a process, {cores} processes"}
    return Result("fetch", "pictures/s", count, ours, theirs, "img2dataset 1.47.0", ours / theirs), details


def _fetch(folder: Path, home: Path, workers: int) -> tuple[int, float]:
    settings = Settings.from_env({"VECLIP_HOME": str(home)})
    home.mkdir()
    fetch = {"concurrency": _CONCURRENCY, "per_host": _CONCURRENCY, "allow_addresses": ["127.0.0.1/32"]}
    policy = CrawlPolicy.model_validate({"fetch": fetch, "entries_per_shard": _PER_SHARD})
    cluster = cluster_up(settings, workers)
    warehouse = Warehouse.at(settings.warehouse)
    try:
        from distributed import Client

        with Client(cluster.address) as client:
            warm_up(client, home, cluster.workers)
            started = time.perf_counter()
            crawl = Crawl(warehouse, "p", inspect_drop(str(folder)), settings.shards, policy)
            index_drop(crawl, DaskRunner(client, "bench"), properties={})
            seconds = time.perf_counter() - started
    finally:
        cluster_down(settings)
    kept = read_rows(warehouse, "SELECT count(*) AS n FROM raw_crawl WHERE outcome = 'kept'", tables=["raw_crawl"])
    return int(kept[0]["n"]), seconds
