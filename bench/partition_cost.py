"""What a partition's commit costs as partitions grow in number: the 1,000th against the 10th. Commits alone, no Dagster runs.

A commit here is what a run does: write the partition's rows, open the table, look at what it holds, replace it. The smallest
partition that design.md names has 10,000 rows; the log's own part, without the rows, is shown beside it. Each number is measured in
turns with the first partitions of a fresh table, so that a machine that slows down slows both. The log is trimmed as if
partitions came an hour apart, as younger entries stay.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from bench.outcome import Result
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.tables import log
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.warehouse import Warehouse

#: Commits measured around each number, as many as a fresh table's first.
_MEASURED = 20
_ROWS = 10_000
_NUMBERS = (100, 200, 400, 600, 800, 1_000)


@dataclass
class _Crawl:
    """A warehouse that gets one partition after the other, and what each cost: milliseconds with and without its rows."""

    root: Path
    partitions: int = 0
    whole: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    def add(self, rows: pa.Table) -> None:
        partition = {"crawl_partition": f"p{self.partitions:05d}"}
        warehouse = Warehouse.at(str(self.root))
        started = time.perf_counter()
        file = write_file(warehouse, RAW_CRAWL, partition, "f", rows)
        written = time.perf_counter()
        expected = partition_files(warehouse.open(RAW_CRAWL), partition)
        replace_partition(warehouse, RAW_CRAWL, partition, [file], expected=expected, properties={"run_id": "r"})
        ended = time.perf_counter()
        self.partitions += 1
        self.whole.append(1000 * (ended - started))
        self.bare.append(1000 * (ended - written))


def run(count: int = 1_000) -> tuple[Result, dict[str, str]]:
    rows, one = table_of(RAW_CRAWL, [_row(number) for number in range(_ROWS)]), table_of(RAW_CRAWL, [_row(0)])
    log.KEPT_SECONDS = 0.0
    curve, log_curve = [], []
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        grown = _Crawl(Path(scratch) / "grown")
        for number in (number for number in _NUMBERS if number <= count):
            while grown.partitions < number - _MEASURED // 2:
                grown.add(one)
            fresh = _Crawl(Path(scratch) / f"fresh-{number}")
            for _ in range(_MEASURED):
                fresh.add(rows)
                grown.add(rows)
            first, last = (statistics.median(crawl.whole[-_MEASURED:]) for crawl in (fresh, grown))
            first_log, last_log = (statistics.median(crawl.bare[-_MEASURED:]) for crawl in (fresh, grown))
            curve.append(f"{number}: {last:.1f} against {first:.1f} ({last / first:.2f})")
            log_curve.append(f"{number}: {last_log:.1f} against {first_log:.1f} ({last_log / first_log:.2f})")
    details = {
        "rows of a partition": str(_ROWS),
        "milliseconds by partition, against the first 20": ", ".join(curve),
        "the log alone": ", ".join(log_curve),
    }
    return Result("partition-cost", "ms", count, last, first, "the 10th partition", first / last), details


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
