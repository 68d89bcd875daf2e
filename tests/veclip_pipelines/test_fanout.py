"""Fanning out: the same results here and on Dask, keys of the run, nothing left behind after a failure."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from distributed import Client

from veclip_pipelines.fanout import DaskRunner, HereRunner


def square(number: int) -> int:
    return number * number


def fail_on_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    time.sleep(0.2)
    return number


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        yield client


def test_the_same_results_here_and_there(client: Client) -> None:
    items = list(range(20))
    there = DaskRunner(client, "run-1").run(square, items, label="x")
    assert sorted(there) == list(HereRunner().run(square, items, label="x"))
    assert list(DaskRunner(client, "run-1").run(square, [], label="x")) == []


def test_keys_begin_with_the_run(client: Client) -> None:
    results = DaskRunner(client, "run-2").run(fail_on_three, list(range(10, 40)), label="stage")
    next(results)
    keys = [key for key in client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)) if "run-2" in key]
    assert keys
    assert all(key.startswith("run-2-stage-") for key in keys)
    results.close()  # type: ignore[attr-defined]


def test_a_failure_is_raised_and_the_rest_cancelled(client: Client) -> None:
    with pytest.raises(ValueError, match="three"):
        list(DaskRunner(client, "run-3").run(fail_on_three, [1, 2, 3, *range(4, 60)], label="x"))
    deadline = time.monotonic() + 10
    while client.run_on_scheduler(lambda dask_scheduler: [key for key in dask_scheduler.tasks if "run-3" in key]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
