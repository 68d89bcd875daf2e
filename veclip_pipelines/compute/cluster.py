"""The local Dask cluster: a scheduler and workers in processes of their own, which outlive a Dagster step.

Dagster spawns a process for each step, so a cluster made inside one would die with it, together with the loaded models.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import psutil
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import UsageError, VeclipError

_T = TypeVar("_T")
_START_SECONDS = 60
#: Seconds between two looks whether a process has ended.
_LOOK_SECONDS = 2
_STOP_SECONDS = 15
#: Dask stops each worker a hundred times a second to see where it is, and looks at its clock and memory every 20 and 100 ms:
#: tasks of seconds have no use for that, and it takes the interpreter away from them.
_CALM = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "2s",
    "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "1s",
}


@dataclass(frozen=True)
class ClusterInfo:
    """A running cluster: its addresses, and the process (id, start time) of scheduler and of the workers' parent."""

    address: str
    dashboard: str
    workers: int
    processes: tuple[tuple[int, float], ...]


def running_cluster(settings: Settings) -> ClusterInfo | None:
    """The cluster that ``cluster_up`` started, if all its processes are alive."""
    try:
        content = json.loads(settings.cluster_file.read_text("utf-8"))
        info = ClusterInfo(
            content["address"],
            content["dashboard"],
            content["workers"],
            tuple((pid, at) for pid, at in content["processes"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return info if all(_alive(pid, at) for pid, at in info.processes) else None


def cluster_up(settings: Settings, workers: int = 2, cores: int = 1, memory_limit: str = "auto") -> ClusterInfo:
    """Starts scheduler and workers on loopback and waits until they answer; a running cluster is left as it is.

    Args:
        cores: cores that a worker's model computes with. A worker does one task at a time, however many it has.

    Raises:
        UsageError: a cluster with another number of workers runs already.
        VeclipError: they do not come up; the message names their log.
    """
    if running := running_cluster(settings):
        if running.workers != workers:
            raise UsageError(f"a cluster of {running.workers} workers runs already: veclip cluster down stops it")
        return running
    cluster_down(settings)
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    scheduler_file = settings.home / "scheduler.json"
    scheduler_file.unlink(missing_ok=True)
    loopback = ("--host", "127.0.0.1", "--scheduler-file", str(scheduler_file))
    scheduler = _spawn(
        ["scheduler", *loopback, "--port", "0", "--dashboard-address", "127.0.0.1:0"],
        logs / "dask-scheduler.log",
        settings,
    )
    sizes = ("--nworkers", str(workers), "--nthreads", "1", "--memory-limit", memory_limit)
    worker = _spawn(
        ["worker", *loopback, *sizes, "--no-dashboard", "--local-directory", str(settings.home / "dask-scratch")],
        logs / "dask-workers.log",
        settings,
        {**worker_environment(cores), **_CALM},
    )
    processes = tuple((process.pid, process.create_time()) for process in (scheduler, worker))
    try:
        address, dashboard = _wait_until_up(scheduler_file, workers, (scheduler, worker), logs)
    except BaseException:  # on Ctrl-C too: nobody else knows these processes yet
        _stop(processes)
        raise
    info = ClusterInfo(address, dashboard, workers, processes)
    settings.cluster_file.write_text(json.dumps(asdict(info)), "utf-8")
    return info


def cluster_down(settings: Settings) -> bool:
    """Stops what ``cluster_up`` started, by process id; returns whether anything ran."""
    try:
        content = json.loads(settings.cluster_file.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    alive = [(pid, at) for pid, at in content["processes"] if _alive(pid, at)]
    _stop(tuple(alive))
    settings.cluster_file.unlink(missing_ok=True)
    return bool(alive)


def worker_environment(cores: int) -> dict[str, str]:
    """A worker's environment variables, set for models; Dask's own choice is for data frames.

    Dask gives each worker one thread for numerical libraries. And it makes malloc return memory to the system at every
    64 kB, so that each step of a model has to request its memory again: a third of the whole time here (``python -m
    bench graph-overhead``). Setting that threshold at all also stops malloc from adapting the other one, above which
    memory comes straight from the system.
    """
    return {
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(cores)),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    }


def _spawn(
    arguments: list[str], log: Path, settings: Settings, more: Mapping[str, str] = MappingProxyType({})
) -> psutil.Process:
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **settings.environment(), "PYTHONUNBUFFERED": "1", **more},
            start_new_session=True,
        )
    return psutil.Process(process.pid)


def _wait_until_up(
    scheduler_file: Path, workers: int, processes: tuple[psutil.Process, ...], logs: Path
) -> tuple[str, str]:
    from distributed import Client

    def connect() -> tuple[str, str]:
        if not scheduler_file.is_file():
            raise FileNotFoundError(scheduler_file)
        with Client(scheduler_file=str(scheduler_file), timeout=5) as client:
            client.wait_for_workers(workers, timeout=_LOOK_SECONDS)
            return str(client.scheduler.address), str(client.dashboard_link)

    def ended() -> bool:
        return any(not runs(process) for process in processes)

    try:
        return until_up(connect, ended, _START_SECONDS, wait_seconds=0.1)
    except TimeoutError as error:
        what = "ended as it started" if ended() else f"did not come up in {_START_SECONDS} s"
        raise VeclipError(f"the Dask cluster {what}: see {logs}/dask-scheduler.log and dask-workers.log") from error


def until_up(connect: Callable[[], _T], ended: Callable[[], bool], seconds: float, *, wait_seconds: float) -> _T:
    """Connects to what was just started, again and again until it answers.

    Args:
        ended: whether it has ended by itself, so that it never will.

    Raises:
        TimeoutError: it ended, or did not answer in ``seconds``.
    """
    retrying = Retrying(
        retry=retry_if_exception_type((OSError, ValueError)),
        stop=stop_after_delay(seconds),
        wait=wait_fixed(wait_seconds),
    )

    def look() -> _T:
        if ended():
            raise _EndedError
        return connect()

    try:
        return retrying(look)
    except (_EndedError, RetryError) as error:
        raise TimeoutError("it does not answer") from error


class _EndedError(Exception):
    pass


def runs(process: psutil.Process) -> bool:
    """Whether a process of ours is running; a zombie does not count."""
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def stop_processes(family: Sequence[psutil.Process], ask: Sequence[psutil.Process], first: int, seconds: float) -> None:
    """Asks some processes to end, waits for them and all that they started, then terminates and kills what is left.

    Args:
        family: all processes that must be gone in the end.
        ask: those that get the first signal; they end their children themselves.
    """
    for process in ask:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(first)
    _, left = psutil.wait_procs(family, timeout=seconds / 2)
    for action in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                action(process)
        _, left = psutil.wait_procs(left, timeout=seconds / 2)


def _alive(pid: int, started: float) -> bool:
    """Whether exactly this process is still running: its id may have been reused."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and runs(process)
    except psutil.NoSuchProcess:
        return False


def _stop(processes: tuple[tuple[int, float], ...]) -> None:
    """Asks, waits, then kills each process and all that it started."""
    family: list[psutil.Process] = []
    for pid, started in reversed(processes):
        if _alive(pid, started):
            process = psutil.Process(pid)
            family += [process, *process.children(recursive=True)]
    stop_processes(family, family, signal.SIGTERM, _STOP_SECONDS)
