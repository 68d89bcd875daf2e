"""What a partition's commit costs as partitions grow in number: the 1,000th against the 10th. Commits alone, no Dagster runs.

A commit here is what a run does: write the partition's rows, open the table, look at what it holds, replace it. The smallest
partition that design.md names has 10,000 rows; the commit's own part, without the rows, is shown beside it.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time

from bench.report import Result
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.schemas import RAW_CRAWL
from veclip_pipelines.tables.warehouse import Warehouse

_AROUND = 10
_ROWS = 10_000
_SHOWN = (10, 50, 100, 200, 400, 600, 800, 1_000)


def run(count: int = 1_000) -> tuple[Result, dict[str, str]]:
    rows = table_of(RAW_CRAWL, [_row(number) for number in range(_ROWS)])
    seconds, log_seconds = [], []
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        for number in range(count + _AROUND):
            partition = {"crawl_partition": f"p{number:05d}"}
            warehouse = Warehouse.at(scratch)
            started = time.perf_counter()
            file = write_file(warehouse, RAW_CRAWL, partition, "f", rows)
            written = time.perf_counter()
            expected = partition_files(warehouse.open(RAW_CRAWL), partition)
            replace_partition(warehouse, RAW_CRAWL, partition, [file], expected=expected, properties={"run_id": "r"})
            seconds.append(time.perf_counter() - started)
            log_seconds.append(time.perf_counter() - written)

    first, last = _cost(seconds, 10), _cost(seconds, count)
    curve, log_curve = (
        ", ".join(f"{number}: {_cost(measured, number):.1f}" for number in _SHOWN if number <= count)
        for measured in (seconds, log_seconds)
    )
    details = {
        "milliseconds by partition, rows not counted": log_curve,
        "rows of a partition": str(_ROWS),
        "milliseconds by partition": curve,
        f"{count}th over 10th": f"{last / first:.2f}",
        "slowest": f"{1000 * max(seconds):.0f} ms",
    }
    return Result("partition-cost", "ms", count, last, first, "the 10th partition", first / last), details


def _cost(measured: list[float], number: int) -> float:
    """Median over some commits around one, in milliseconds: one in so many writes a checkpoint."""
    return 1000 * statistics.median(measured[max(0, number - _AROUND) : number + _AROUND])


def _row(number: int) -> dict[str, object]:
    """A row as long as a real one, whose texts and hashes do not compress to nothing."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return {
        "sample_id": digest[:32], "image_sha256": digest, "url": f"https://pictures.example/{digest[:12]}.jpg",
        "alt_text": f"a picture of {digest[:8]} on a table", "alt_text_raw": f"a picture of {digest[:8]} on a table",
        "source_key": f"{number:09d}", "source_uri": "/drop/00000.tar", "shard_uri": "/drop/00000.tar", "image_offset": number * 30_000,
        "image_length": 25_000, "media_type": "image/jpeg", "width": 256, "height": 256, "phash": digest[:16], "language": "en",
        "flags": [], "captions": [], "outcome": "kept",
    }  # fmt: skip
