"""Two hundred workers through the real scheduler: tasks a second, memory of scheduler and driver, and the commit of 100,000 files.

The workers are distributed's own Worker class, all in one process on this machine, and the engine sleeps: what is measured is the
scheduler, the driver's loop and the commit, which are what does not grow with the number of machines. The scheduler is a process
of its own, as ``veclip cluster up`` starts it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from bench.outcome import Result
from veclip_pipelines.compute.fanout import DaskRunner, TaskSizing
from veclip_pipelines.schemas.crawl_schemas import VECAP
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile, table_of, write_file
from veclip_pipelines.tables.warehouse import Warehouse

_WORKERS = 200
_FILES = 100_000
_MIB = 2**20


def run(count: int = 6_000, seconds: float = 1.0) -> tuple[Result, Mapping[str, str]]:
    """Batches of one second each, dealt out as in production: the share of the workers' time that is kept busy is ``ratio``."""
    with tempfile.TemporaryDirectory() as folder, _cluster(Path(folder)) as (client, scheduler, at_work):
        alone = DaskRunner(client, "bench", TaskSizing(most=1))
        empty = _timed(alone, "empty", 0.0, count)
        busy = _timed(DaskRunner(client, "bench"), "busy", seconds, count)
        memory = scheduler.memory_info().rss / _MIB
        driver = psutil.Process().memory_info().rss / _MIB
        commit, again = _commit(Path(folder) / "warehouse")
    best = count * seconds / _WORKERS
    details = {
        "workers": f"{_WORKERS}, in one process ({at_work:.0f} s to start)",
        "tasks a second through the scheduler, empty ones": f"{count / empty:.0f}",
        "scheduler, MiB": f"{memory:.0f}",
        "driver, MiB": f"{driver:.0f}",
        f"commit of {_FILES} files, s": f"{commit:.2f}",
        "opening them and replacing the partition again, s": f"{again:.2f}",
    }
    result = Result(
        "many-workers", "batches/s", count, count / busy, count / best, f"{_WORKERS} workers at {seconds:g} s a batch, never waiting",
        best / busy,
    )  # fmt: skip
    return result, details


def _timed(runner: DaskRunner, label: str, seconds: float, count: int) -> float:
    started = time.perf_counter()
    done = sum(1 for _ in runner.run(partial(_sleep, seconds), range(count), label=label))
    assert done == count
    return time.perf_counter() - started


def _sleep(seconds: float, number: int) -> int:
    time.sleep(seconds)
    return number


@contextmanager
def _cluster(folder: Path) -> Iterator[tuple[object, psutil.Process, float]]:
    """A client, the scheduler's process, and the seconds until all workers had joined."""
    from distributed import Client

    file = folder / "scheduler.json"
    log = (folder / "log").open("wb")
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    scheduler = subprocess.Popen(
        [*command, "--scheduler-file", str(file), "--no-dashboard"], stdout=log, stderr=subprocess.STDOUT
    )
    workers = None
    try:
        while not file.exists():
            time.sleep(0.1)
        started = time.perf_counter()
        script = f"from bench.many_workers import work; work({str(file)!r}, {_WORKERS})"
        workers = subprocess.Popen([sys.executable, "-c", script], stdout=log, stderr=subprocess.STDOUT)
        with Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(_WORKERS, timeout=180)
            yield client, psutil.Process(scheduler.pid), time.perf_counter() - started
    finally:
        for process in (workers, scheduler):
            if process is not None:
                process.terminate()
                process.wait(30)


def work(scheduler_file: str, count: int) -> None:
    """So many workers in this process, until it is ended."""
    from distributed import Worker

    async def start() -> None:
        options = {"nthreads": 1, "dashboard": False, "memory_limit": 0, "validate": False}
        workers = [Worker(scheduler_file=scheduler_file, name=str(number), **options) for number in range(count)]
        for first in range(0, count, 20):
            await asyncio.gather(*workers[first : first + 20])
        await asyncio.gather(*(worker.finished() for worker in workers))

    asyncio.run(start())


def _commit(root: Path) -> tuple[float, float]:
    """Seconds for one commit of so many files, and for the next commit that replaces them by as many others."""
    warehouse = Warehouse.at(str(root))
    partition = {"crawl_partition": "bench", "engine_id": "e"}
    one = write_file(warehouse, VECAP, partition, "one", table_of(VECAP, []))

    def files(turn: int) -> list[DataFile]:
        folder = one.path.rpartition("/")[0]
        return [
            DataFile(f"{folder}/batch-{turn}-{number:06d}.parquet", 20_000, 64, partition) for number in range(_FILES)
        ]

    taken = []
    for turn in range(2):
        named = files(turn)
        started = time.perf_counter()
        expected = partition_files(warehouse.open(VECAP), partition)
        replace_partition(warehouse, VECAP, partition, named, expected=expected, properties={})
        taken.append(time.perf_counter() - started)
    return taken[0], taken[1]
