"""Image links from WAT files: ours against cc2dataset's own function, one process each, the same files, the same links."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.crawl_data import write_wat
from bench.outcome import Result
from bench.peers import run_peer
from veclip_pipelines.crawl.formats.common_crawl import read_entries


def run(pages: int = 20_000) -> tuple[Result, dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        paths = [write_wat(Path(scratch) / f"{n}.warc.wat.gz", pages // 2, n) for n in range(2)]
        size = sum(path.stat().st_size for path in paths)
        peer = run_peer("cc2dataset_extract.py", *map(str, paths))
        started = time.perf_counter()
        links = sum(1 for path in paths for _ in read_entries(scratch, path.name))
        seconds = time.perf_counter() - started
    assert links == peer["count"], f"{links} links, and {peer['count']} by cc2dataset"
    ours, theirs = pages / seconds, pages / peer["seconds"]
    details = {
        "links": str(links),
        "compressed": f"{size / 1e6:.0f} MB",
        "ours": f"{size / 1e6 / seconds:.1f} MB/s compressed",
    }
    return Result(
        "extract-wat", "pages/s", pages, ours, theirs, "cc2dataset extract_documents_from_wat", ours / theirs
    ), details
