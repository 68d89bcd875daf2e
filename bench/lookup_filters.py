"""Writing a crawl partition's rows with the filters that look-ups go by, against writing them without.

In pairs: two writes after each other share what the machine does besides, so a pair's ratio is steadier than either time.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time

from bench.outcome import Result
from bench.trace import generated_rows
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.tables.data_files import write_file
from veclip_pipelines.tables.warehouse import Warehouse

_PAIRS = 60
_PARTITION = {"crawl_partition": "p"}


def run(count: int = 1_000_000) -> tuple[Result, dict[str, str]]:
    rows = generated_rows(RAW_CRAWL, 0, count)
    taken: dict[bool, list[float]] = {True: [], False: []}
    sizes = {}
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        warehouse = Warehouse.at(scratch)
        for number in range(_PAIRS):
            for filtered in (True, False) if number % 2 else (False, True):
                spec = RAW_CRAWL if filtered else dataclasses.replace(RAW_CRAWL, lookups=())
                started = time.perf_counter()
                file = write_file(warehouse, spec, _PARTITION, f"{number}", rows)
                taken[filtered].append(time.perf_counter() - started)
                sizes[filtered] = file.size
                # At once, so that the disk is not busy with it while the next is timed.
                warehouse.filesystem.delete_file(warehouse.path(spec, file.path))
    ratios = [with_them / without for with_them, without in zip(taken[True], taken[False], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    details = {
        "cost_in_time": f"{100 * (middle - 1):.1f} % (half of {_PAIRS} pairs: {100 * (low - 1):.1f} to {100 * (high - 1):.1f} %)",
        "cost_in_bytes": f"{100 * (sizes[True] / sizes[False] - 1):.1f} %",
        "seconds": f"{statistics.median(taken[True]):.3f} with, {statistics.median(taken[False]):.3f} without",
    }
    ours, peer = (count / statistics.median(taken[filtered]) for filtered in (True, False))
    return Result("lookup-filters", "rows a second", count, ours, peer, "without filters", 1 / middle), details
