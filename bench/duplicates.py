"""Peak memory of looking for duplicates, at a tenth of the crawl and at all of it: DuckDB may hold so much and no more.

Rows are generated: hashes at random, one in ten near another, one in twenty the same picture again.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from bench.outcome import Result
from veclip_pipelines.crawl.duplicates import MEMORY_LIMIT, find_duplicates
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.tables.commit import replace_partition
from veclip_pipelines.tables.data_files import write_file
from veclip_pipelines.tables.warehouse import Warehouse

_PER_PARTITION = 250_000


def run(count: int = 4_000_000) -> tuple[Result, dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        small, large = (_measure(Path(scratch) / str(size), size) for size in (count // 10, count))
    result = Result(
        "duplicates",
        "MiB",
        count,
        large["memory"],
        small["memory"],
        f"at {count // 10}",
        small["memory"] / large["memory"],
    )
    details = {
        "DuckDB's limit": MEMORY_LIMIT,
        "seconds": f"{large['seconds']:.0f} at {count}, {small['seconds']:.0f} at {count // 10}",
        "groups": f"{large['groups']:.0f} of {large['members']:.0f} samples",
    }
    return result, details


def _measure(root: Path, count: int) -> dict[str, float]:
    write_crawl(Warehouse.at(str(root)), count)
    done = subprocess.run(
        [sys.executable, "-m", "bench.duplicates", str(root)], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def write_crawl(warehouse: Warehouse, count: int) -> None:
    """raw_crawl with partitions of a quarter million rows."""
    rng = random.Random(3)
    recent: list[tuple[int, str]] = []
    for number, start in enumerate(range(0, count, _PER_PARTITION)):
        rows = min(_PER_PARTITION, count - start)
        hashes, pictures = [], []
        for index in range(rows):
            kind = rng.random()
            picture, phash = hashlib.sha256(f"{start + index}".encode()).hexdigest(), rng.getrandbits(64)
            if recent and kind < 0.05:
                phash, picture = rng.choice(recent)
            elif recent and kind < 0.15:
                phash = rng.choice(recent)[0] ^ (1 << rng.randrange(64))
            if kind > 0.99:
                recent.append((phash, picture))
            hashes.append(f"{phash:016x}")
            pictures.append(picture)
        ids = [f"{rng.getrandbits(128):032x}" for _ in range(rows)]
        columns = {
            "sample_id": ids,
            "phash": hashes,
            "image_sha256": pictures,
            "source_key": ids,
            "outcome": ["kept"] * rows,
            "flags": [[]] * rows,
        }
        table = pa.table(
            [pa.array(columns.get(f.name, [None] * rows), f.type) for f in RAW_CRAWL.file_schema], RAW_CRAWL.file_schema
        )
        partition = {"crawl_partition": f"p{number:04d}"}
        file = write_file(warehouse, RAW_CRAWL, partition, "f", table)
        replace_partition(warehouse, RAW_CRAWL, partition, [file], expected=frozenset(), properties={})


def main() -> None:
    """In a process of its own, whose peak memory is the step's."""
    import resource

    started = time.perf_counter()
    found = find_duplicates(Warehouse.at(sys.argv[1]), 3, properties={})
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"memory": memory, "seconds": seconds, "groups": found.groups, "members": found.members}))


if __name__ == "__main__":
    main()
