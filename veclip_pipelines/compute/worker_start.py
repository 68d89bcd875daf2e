"""What each Dask worker starts when it joins: so that a model is loaded before the first batch comes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from distributed import Worker, WorkerPlugin


class StartedInEachWorker(WorkerPlugin):  # type: ignore[misc]
    """Runs a function in a thread of each worker, also of those that join later."""

    def __init__(self, function: Callable[[], None], label: str) -> None:
        self.name = label
        self._function = function

    def setup(self, worker: Worker) -> None:
        """Starts and does not wait: a worker that loads a model for minutes must answer its scheduler all the while."""
        del worker
        threading.Thread(target=self._function, name=self.name, daemon=True).start()
