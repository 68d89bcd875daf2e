"""Fanning out: the same results locally and on Dask, task keys with the run's id, nothing left behind after a failure."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from distributed import Client
from distributed.worker import thread_state

from veclip_pipelines.compute.fanout import DaskRunner, HereRunner, TaskSizing


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


@pytest.mark.parametrize(
    ("seconds", "left", "threads", "items"),
    [
        (None, 1000, 2, 1),  # nothing measured yet
        (1.0, 1000, 2, 20),
        (0.001, 10_000, 2, 64),  # never more than a task may hold
        (90.0, 1000, 2, 1),
        (1.0, 10, 2, 3),  # the end is shared out
        (1.0, 1, 8, 1),
    ],
)
def test_tasks_are_sized_by_the_time_that_items_take(
    seconds: float | None, left: int, threads: int, items: int
) -> None:
    assert TaskSizing().items(seconds, left, threads) == items


def test_only_some_tasks_are_open_however_many_items_there_are(client: Client) -> None:
    """The scheduler never holds more than two tasks a worker."""
    seen = []
    results = DaskRunner(client, "run-4", TaskSizing(most=1)).run(nap, range(60), label="x")
    for result in results:
        seen.append(result)
        held = client.run_on_scheduler(lambda dask_scheduler: [key for key in dask_scheduler.tasks if "run-4" in key])
        assert len(held) <= 5
    assert sorted(seen) == list(range(60))


def test_quick_items_share_a_task(client: Client) -> None:
    found = list(DaskRunner(client, "run-5").run(task_of, range(600), label="x"))
    assert len(found) == 600
    assert len(set(found)) < 60


def test_every_worker_starts_what_it_is_told_to_and_so_do_those_that_join_meanwhile(
    client: Client, tmp_path: Path
) -> None:
    def started() -> int:
        return len(list(tmp_path.iterdir()))

    with DaskRunner(client, "run-6").everywhere(partial(leave_a_file, str(tmp_path)), label="warm-a"):
        wait_until(lambda: started() == 2)
        client.cluster.scale(3)
        wait_until(lambda: started() == 3)
    client.cluster.scale(4)
    client.wait_for_workers(4)
    time.sleep(0.3)
    assert started() == 3


def leave_a_file(folder: str) -> None:
    Path(folder, uuid.uuid4().hex).touch()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def nap(number: int) -> int:
    time.sleep(0.02)
    return number


def task_of(number: int) -> str:
    """Key of the task that an item runs in."""
    del number
    return str(thread_state.key)
