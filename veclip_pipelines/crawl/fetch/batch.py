"""Many pictures: an event loop on a worker, results as they come."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator, Sequence

from veclip_pipelines.crawl.fetch.client import Fetched, PictureClient
from veclip_pipelines.crawl.policy import FetchPolicy

#: Results that may wait to be packed, as a share of the requests in flight: what bounds the memory.
_WAITING = 1.0


def fetch_all(urls: Sequence[str], policy: FetchPolicy) -> Iterator[tuple[str, Fetched]]:
    """Fetches each URL once and yields (URL, result) in the order in which they arrive.

    The loop runs in a thread of its own, so that verifying and packing one picture overlaps with fetching others. When the
    consumer is slow, fetching waits: only so many results lie in memory.
    """
    results: queue.Queue[tuple[str, Fetched] | BaseException | None] = queue.Queue(
        maxsize=max(1, int(policy.concurrency * _WAITING))
    )
    stop = threading.Event()

    def run() -> None:
        try:
            asyncio.run(_fetch(urls, policy, results, stop))
            _put(results, None, stop)
        except BaseException as error:  # a fault of ours: raised where the results are taken
            _put(results, error, stop)

    thread = threading.Thread(target=run, name="veclip-fetch", daemon=True)
    thread.start()
    try:
        while (item := results.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join(timeout=policy.deadline_seconds + 5)


async def _fetch(
    urls: Sequence[str],
    policy: FetchPolicy,
    results: queue.Queue[tuple[str, Fetched] | BaseException | None],
    stop: threading.Event,
) -> None:
    pending = iter(urls)
    loop = asyncio.get_running_loop()

    async with PictureClient(policy) as client:

        async def work() -> None:
            for url in pending:  # shared: each worker takes the next
                if stop.is_set():
                    return
                item = (url, await client.fetch(url))
                try:
                    results.put_nowait(item)
                except queue.Full:
                    await loop.run_in_executor(None, _put, results, item, stop)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(policy.concurrency, len(urls))):
                group.create_task(work())


def _put(
    results: queue.Queue[tuple[str, Fetched] | BaseException | None],
    item: tuple[str, Fetched] | BaseException | None,
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        try:
            results.put(item, timeout=0.2)
            return
        except queue.Full:
            continue
