"""What a partition's commit costs as partitions grow in number: the 1,000th against the 10th. Commits alone, no Dagster runs.

A commit here is what a run does: open the table, look at what the partition holds, replace it.
"""

from __future__ import annotations

import statistics
import tempfile
import time

from bench.report import Result
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.schemas import RAW_CRAWL
from veclip_pipelines.tables.warehouse import Warehouse

_AROUND = 10
_SHOWN = (10, 50, 100, 200, 400, 600, 800, 1_000)


def run(count: int = 1_000) -> tuple[Result, dict[str, str]]:
    row: dict[str, object] = {"sample_id": "s", "source_key": "k", "flags": [], "outcome": "kept"}
    rows = table_of(RAW_CRAWL, [row])
    seconds = []
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        for number in range(count + _AROUND):
            partition = {"crawl_partition": f"p{number:05d}"}
            warehouse = Warehouse.at(scratch)
            file = write_file(warehouse, RAW_CRAWL, partition, "f", rows)
            started = time.perf_counter()
            expected = partition_files(warehouse.open(RAW_CRAWL), partition)
            replace_partition(warehouse, RAW_CRAWL, partition, [file], expected=expected, properties={"run_id": "r"})
            seconds.append(time.perf_counter() - started)

    def cost(number: int) -> float:
        """Median over some commits around one, in milliseconds: one in so many writes a checkpoint."""
        return 1000 * statistics.median(seconds[max(0, number - _AROUND) : number + _AROUND])

    first, last = cost(10), cost(count)
    curve = ", ".join(f"{number}: {cost(number):.1f}" for number in _SHOWN if number <= count)
    details = {
        "milliseconds by partition": curve,
        f"{count}th over 10th": f"{last / first:.2f}",
        "slowest": f"{1000 * max(seconds):.0f} ms",
    }
    return Result("partition-cost", "ms", count, last, first, "the 10th partition", first / last), details
