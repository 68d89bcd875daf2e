"""The local cluster: started, found, kept, stopped, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal

import psutil
import pytest
from distributed import Client

from veclip_pipelines.compute.cluster import cluster_down, cluster_up, running_cluster, worker_environment
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import UsageError, VeclipError


def test_nothing_runs_in_a_fresh_home(settings: Settings) -> None:
    assert running_cluster(settings) is None
    assert cluster_down(settings) is False


def test_a_file_of_processes_that_are_gone_or_anothers_is_no_cluster(settings: Settings) -> None:
    settings.home.mkdir(parents=True)
    mine = psutil.Process()
    for processes in ([[mine.pid, mine.create_time() - 500]], [[2**22 - 1, 0.0]]):
        content = {"address": "tcp://x", "dashboard": "", "workers": 2, "processes": processes}
        settings.cluster_file.write_text(json.dumps(content))
        assert running_cluster(settings) is None
        assert cluster_down(settings) is False
    settings.cluster_file.write_text("{")
    assert running_cluster(settings) is None


@pytest.mark.slow
def test_up_twice_and_down(settings: Settings) -> None:
    os.environ["VECLIP_HOME"] = str(settings.home)
    try:
        info = cluster_up(settings, workers=2)
        assert info.address.startswith("tcp://127.0.0.1:")
        assert cluster_up(settings, workers=2) == info == running_cluster(settings)
        with pytest.raises(UsageError, match="a cluster of 2 workers runs already"):
            cluster_up(settings, workers=3)
        family = [process for pid, _ in info.processes for process in psutil.Process(pid).children(recursive=True)]
        family += [psutil.Process(pid) for pid, _ in info.processes]
        assert len(family) >= 5
        with Client(info.address) as client:
            found = client.run(
                lambda names: {name: os.environ.get(name) for name in names}, list(worker_environment(1))
            )
        assert list(found.values()) == [worker_environment(1)] * 2
    finally:
        cluster_down(settings)
    assert running_cluster(settings) is None
    assert [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.slow
def test_a_scheduler_that_was_killed_is_replaced(settings: Settings) -> None:
    try:
        first = cluster_up(settings, workers=1)
        os.kill(first.processes[0][0], signal.SIGKILL)
        psutil.Process(first.processes[0][0]).wait(10)
        assert running_cluster(settings) is None
        second = cluster_up(settings, workers=1)
        assert second.processes != first.processes
        assert (
            not psutil.pid_exists(first.processes[1][0])
            or psutil.Process(first.processes[1][0]).status() == psutil.STATUS_ZOMBIE
        )
    finally:
        cluster_down(settings)


@pytest.mark.slow
def test_a_cluster_that_cannot_come_up_says_where_to_look(settings: Settings) -> None:
    with pytest.raises(VeclipError, match=r"dask-scheduler\.log"):
        cluster_up(settings, workers=1, memory_limit="a lot")
    assert running_cluster(settings) is None
