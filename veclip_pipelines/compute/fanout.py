"""Work fanned out over Dask workers, or done here where there is no cluster: one way to call both."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

from veclip_pipelines.errors import VeclipError

if TYPE_CHECKING:
    from distributed import Client, Future

Item = TypeVar("Item")
Result = TypeVar("Result")


#: Seconds between two counts of the workers.
_LOOK_SECONDS = 5.0


class Runner(Protocol):
    """Runs a function over items; results arrive as they are finished."""

    def run(self, function: Callable[[Item], Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
        """Yields one result per item, in any order. The first failure is raised and the rest cancelled."""
        ...

    def run_tasks(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, label: str
    ) -> Iterator[list[Result]]:
        """Like :meth:`run`, but yields the results of one task at a time."""
        ...

    def everywhere(self, function: Callable[[], None], *, label: str) -> AbstractContextManager[None]:
        """Starts a function in each worker, and in those that join while the context lasts, and does not wait for it."""
        ...


class HereRunner:
    """Runs one item after the other in this process."""

    def run(self, function: Callable[[Item], Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
        del label
        for item in items:
            yield function(item)

    def run_tasks(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, label: str
    ) -> Iterator[list[Result]]:
        """Each item is a task."""
        for result in self.run(function, items, label=label):
            yield [result]

    def everywhere(self, function: Callable[[], None], *, label: str) -> AbstractContextManager[None]:
        """Does nothing: there is no worker to warm up before the first item."""
        del function, label
        return nullcontext()


class CancelledTaskError(Exception):
    """The run that wanted this task's result is gone."""


def stop_if_cancelled() -> None:
    """Ends a Dask task whose future was cancelled; outside of one it does nothing.

    Dask removes waiting tasks from its queue, but lets a running one continue to its end, which for a shard of fetched
    pictures can be an hour: so long tasks call this between rows or batches.

    Raises:
        CancelledTaskError: the task was cancelled.
    """
    worker_module = sys.modules.get("distributed.worker")
    if worker_module is None:
        return
    state = worker_module.thread_state
    execution = getattr(state, "execution_state", None)
    if not execution:
        return
    task = execution["worker"].state.tasks.get(state.key)
    if task is None or task.state == "cancelled":
        raise CancelledTaskError(str(state.key))


@dataclass(frozen=True)
class TaskSizing:
    """How many items a task takes: as many as fill some seconds, so that Dask's own work for a task stays small.

    Only the distribution of items depends on the load; an item and its result never do.

    Attributes:
        seconds: how long a task should take.
        most: items in a task at most.
        ahead: tasks that wait at each worker thread besides the running one: enough that no worker is idle, and few
            enough that a partition of a million rows never fills the scheduler.
    """

    seconds: float = 20.0
    most: int = 64
    ahead: int = 1

    def items(self, seconds_an_item: float | None, left: int, threads: int) -> int:
        """Items for the next task.

        Args:
            seconds_an_item: as measured so far; None at first: then a task takes one item.
            left: items that no task has yet: towards the end tasks get smaller, so that all workers end together.
        """
        if seconds_an_item is None:
            return 1
        fitting = int(self.seconds / max(seconds_an_item, 1e-6))
        return max(1, min(fitting, self.most, -(-left // (2 * threads))))


@dataclass(frozen=True)
class DaskRunner:
    """Runs items on the workers of a Dask cluster.

    Attributes:
        client: connected to the scheduler.
        run_id: begins each task's key, so that two runs never share one (dagster-io/dagster#21418).
    """

    client: Client
    run_id: str
    sizing: TaskSizing = TaskSizing()

    @property
    def dashboard(self) -> str:
        """Address of the cluster's dashboard."""
        return str(self.client.dashboard_link)

    def run(self, function: Callable[[Item], Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
        """One result per item; see :meth:`run_tasks`."""
        for results in self.run_tasks(function, items, label=label):
            yield from results

    def run_tasks(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, label: str
    ) -> Iterator[list[Result]]:
        """The tasks of a worker that dies are run elsewhere by Dask; they find their finished files by name.

        Raises:
            VeclipError: the scheduler is gone, or a task killed one worker after another.
        """
        from distributed import CancelledError, KilledWorker, as_completed
        from distributed.comm import CommClosedError

        attempt = uuid.uuid4().hex[:8]
        source = iter(items)
        left, submitted = len(items), 0
        seconds: float | None = None
        tasks = as_completed(with_results=True)
        open_tasks: dict[str, Future[tuple[float, list[Result]]]] = {}
        threads, looked = self._threads(), time.monotonic()
        try:
            while left or open_tasks:
                if time.monotonic() - looked > _LOOK_SECONDS:  # workers come and go
                    threads, looked = self._threads(), time.monotonic()
                while left and len(open_tasks) < threads * (1 + self.sizing.ahead):
                    part = list(islice(source, self.sizing.items(seconds, left, threads)))
                    key = f"{self.run_id}-{label}-{attempt}-{submitted:06d}"
                    future = self.client.submit(_timed, function, part, key=key, pure=False)
                    open_tasks[key] = future
                    tasks.add(future)
                    left, submitted = left - len(part), submitted + 1
                future, (taken, results) = next(tasks)
                del open_tasks[future.key]
                each = taken / len(results)
                # Recent ones count most, as a worker's first item includes loading its model.
                seconds = each if seconds is None else 0.5 * seconds + 0.5 * each
                yield results
        except (CancelledError, CommClosedError) as error:
            raise VeclipError(
                "the Dask scheduler is gone, or has cancelled this run's tasks. Nothing of this step was committed; what its "
                "workers had finished is reused when it is run again. A local cluster: veclip cluster up"
            ) from error
        except KilledWorker as error:
            raise VeclipError(f"a task ended worker after worker, so memory is probably short: {error}") from error
        finally:
            # Also when the run is cancelled or fails: none of its work may continue (dagster-io/dagster#3866).
            with suppress(CommClosedError, CancelledError, TimeoutError, OSError):
                self.client.cancel(list(open_tasks.values()), force=True)

    @contextmanager
    def everywhere(self, function: Callable[[], None], *, label: str) -> Iterator[None]:
        """By a worker plugin, as only that reaches workers that join later."""
        from veclip_pipelines.compute.worker_start import StartedInEachWorker

        self.client.register_plugin(StartedInEachWorker(function, label))
        try:
            yield
        finally:
            # Or a worker that joins next week would load every engine that was ever used.
            with suppress(Exception):
                self.client.unregister_worker_plugin(label)

    def _threads(self) -> int:
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return max(1, sum(int(worker["nthreads"]) for worker in workers))


def _timed(function: Callable[[Item], Result], items: Sequence[Item]) -> tuple[float, list[Result]]:
    """Results of some items, and the seconds that they took. Runs on a worker."""
    started = time.monotonic()
    results = []
    for item in items:
        stop_if_cancelled()
        results.append(function(item))
    return time.monotonic() - started, results
