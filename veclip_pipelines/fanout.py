"""Work fanned out over Dask workers, or done here where there is no cluster: one way to call both."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")


class Runner(Protocol):
    """Runs a function over items; results come as they are finished."""

    def run(self, function: Callable[[Item], Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
        """Yields one result an item, in any order. The first failure is raised and the rest cancelled."""
        ...


class HereRunner:
    """Runs one item after the other in this process."""

    def run(self, function: Callable[[Item], Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
        del label
        for item in items:
            yield function(item)


class CancelledTaskError(Exception):
    """The run that wanted this task's result is gone."""


def stop_if_cancelled() -> None:
    """Ends a Dask task whose future was cancelled; outside of one it does nothing.

    Dask takes tasks that wait out of its queue, and lets one that runs go on to its end, which for a shard of fetched
    pictures can be an hour: long tasks ask here between rows or batches.

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
class DaskRunner:
    """Runs items on the workers of a Dask cluster.

    Attributes:
        client: connected to the scheduler.
        run_id: begins each task's key, so that two runs never share one (dagster-io/dagster#21418).
    """

    client: Client
    run_id: str

    def run(self, function: Callable[[Item], Result], items: Sequence[Item], *, label: str) -> Iterator[Result]:
        """A worker that dies has its tasks run elsewhere by Dask; they find their finished files by name."""
        from distributed import as_completed

        attempt = uuid.uuid4().hex[:8]
        futures = [
            self.client.submit(function, item, key=f"{self.run_id}-{label}-{attempt}-{index:06d}", pure=False)
            for index, item in enumerate(items)
        ]
        try:
            for _, result in as_completed(futures, with_results=True):
                yield result
        finally:
            # Also when the run is cancelled or fails: nothing of it may go on (dagster-io/dagster#3866).
            self.client.cancel(futures, force=True)
