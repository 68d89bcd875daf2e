"""What each Dask worker starts when it joins, so that a model is loaded before the first batch arrives."""

from __future__ import annotations

import threading
from collections.abc import Callable

from distributed import Worker, WorkerPlugin


class StartedInEachWorker(WorkerPlugin):  # type: ignore[misc]
    """Runs a function in a thread of each worker, including those that join later."""

    def __init__(self, function: Callable[[], None], label: str) -> None:
        self.name = label
        self._function = function

    def setup(self, worker: Worker) -> None:
        """Starts without waiting: a worker that loads a model for minutes must keep answering its scheduler."""
        del worker
        threading.Thread(target=self._function, name=self.name, daemon=True).start()
