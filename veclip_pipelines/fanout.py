"""Work fanned out over Dask workers, or done here where there is no cluster: one way to call both."""

from __future__ import annotations

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
