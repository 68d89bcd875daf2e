"""Many pictures: an event loop on a worker, with results as they arrive."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence

from veclip_pipelines.compute.fanout import stop_if_cancelled
from veclip_pipelines.crawl.fetch.client import Fetched, PictureClient
from veclip_pipelines.crawl.policy import FetchPolicy

#: Results that may wait to be packed, as a share of the requests in flight: this bounds the memory.
_WAITING = 1.0
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 0.5


def fetch_all(urls: Sequence[str], policy: FetchPolicy) -> Iterator[tuple[str, Fetched]]:
    """Fetches each URL once and yields (URL, result) in the order in which they arrive.

    The loop runs in a thread of its own, so that verifying and packing one picture overlaps with fetching others. When the
    consumer is slow, fetching waits, so that the results in memory are limited. When it stops early, requests are cut off.
    """
    fetching = _Fetching(urls, policy)
    fetching.start()
    try:
        while True:
            try:
                item = fetching.results.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                stop_if_cancelled()  # servers may drip for a long time, with no row arriving that would trigger the check
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        fetching.stop()


class _Fetching(threading.Thread):
    """The event loop's thread; its results end with None, or with the error that ended it."""

    def __init__(self, urls: Sequence[str], policy: FetchPolicy) -> None:
        super().__init__(name="veclip-fetch", daemon=True)
        self._urls, self._policy = urls, policy
        self.results: queue.Queue[tuple[str, Fetched] | BaseException | None] = queue.Queue(
            maxsize=max(1, int(policy.concurrency * _WAITING))
        )
        self._stopped = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._fetch())
            self._put(None)
        except asyncio.CancelledError:
            pass  # nobody waits for results any more
        except BaseException as error:  # a bug of ours: raised again where the results are consumed
            self._put(error)

    def stop(self) -> None:
        """Cuts off requests in progress and waits for the thread."""
        self._stopped.set()
        if self.is_alive() and self._loop is not None and self._main is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended anyway
                self._loop.call_soon_threadsafe(self._main.cancel)
        self.join(timeout=_STOP_SECONDS)

    async def _fetch(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        pending = iter(self._urls)

        async with PictureClient(self._policy) as client:

            async def work() -> None:
                for url in pending:  # shared: each worker takes the next
                    item = (url, await client.fetch(url))
                    try:
                        self.results.put_nowait(item)
                    except queue.Full:
                        await asyncio.to_thread(self._put, item)

            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._policy.concurrency, len(self._urls))):
                    group.create_task(work())

    def _put(self, item: tuple[str, Fetched] | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self.results.put(item, timeout=0.2)
                return
            except queue.Full:
                continue
