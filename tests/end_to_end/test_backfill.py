"""Backfills: their cost is estimated beforehand; cancelling stops the Dask work; rival runs neither double nor lose a row."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from builders import numbered_entries, write_drop
from drops import write_table
from installation import ENGINES, Installation
from web import Web, running_web

from veclip_pipelines.compute.cluster import running_cluster
from veclip_pipelines.tables.query import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_engines"), pytest.mark.timeout(600)]


@pytest.fixture
def web() -> Iterator[Web]:
    with running_web() as running:
        yield running


@pytest.mark.usefixtures("quick_daemon")
def test_a_backfill_says_what_it_takes_and_does_it(cluster: Installation, tmp_path: Path) -> None:
    for number in range(4):
        cluster.veclip(
            "crawl", "add", str(write_drop(tmp_path / f"crawl-{number}", numbered_entries(3, first=3 * number)))
        )
    plan = json.loads(cluster.veclip("backfill", "--dry-run", "--json", "--partition", "crawl-[0-2]", *ENGINES).stdout)
    assert [(item["asset"], item["partitions"], item["rows"], item["hours"]) for item in plan] == [
        ("raw_crawl", 3, 9, None), ("concept_captions", 3, 9, None), ("vecap", 3, 9, None),
    ]  # fmt: skip
    done = cluster.veclip("backfill", "--yes", "--partition", "crawl-[0-2]", *ENGINES)
    assert "nothing yet" in done.stdout
    assert "unknown" in done.stdout
    counted = read_rows(
        cluster.warehouse, "SELECT crawl_partition AS key, count(*) AS n FROM vecap GROUP BY 1", tables=["vecap"]
    )
    assert {row["key"]: row["n"] for row in counted} == {"crawl-0": 3, "crawl-1": 3, "crawl-2": 3}
    by = read_rows(cluster.warehouse, "SELECT launched_by FROM provenance WHERE asset = 'vecap'", tables=["provenance"])
    assert all("@" in row["launched_by"] for row in by), "a backfill is of whoever asked for it"
    # Now there are rates to go by, and only one partition is left.
    plan = json.loads(cluster.veclip("backfill", "--dry-run", "--json", *ENGINES).stdout)
    assert [(item["partitions"], item["measured_on"]) for item in plan] == [(1, 3)] * 3
    assert all(item["hours"] > 0 and item["gigabytes"] > 0 for item in plan)
    # And at once after the first one, whose daemon is gone.
    cluster.veclip("backfill", "--yes", "--select", "raw_crawl", *ENGINES)
    assert len(read_rows(cluster.warehouse, "SELECT * FROM raw_crawl", tables=["raw_crawl"])) == 12
    assert (
        "up to date"
        in cluster.veclip("backfill", "--yes", "--select", "raw_crawl", "--partition", "crawl-0", *ENGINES).stdout
    )
    for wrong in (("--select", "nonsense("), ("--select", "checkpoints"), ("--partition", "zz*")):
        assert cluster.veclip("backfill", "--yes", *wrong, succeeds=False).returncode == 2


def test_cancelling_stops_the_dask_work(cluster: Installation, web: Web, tmp_path: Path) -> None:
    """Of a partition whose pictures would take minutes to fetch: nothing is asked for any more, and the table is as it was."""
    table = [{"url": f"{web.url}/drip/{n}.jpg", "text": f"text {n}"} for n in range(200)]
    cluster.veclip("crawl", "add", str(write_table(tmp_path / "slow-1" / "t.parquet", table)))
    fetch = {"allow_addresses": ["127.0.0.1/32"], "deadline_seconds": 600, "concurrency": 2, "per_host": 2}
    cluster.settings.crawl_file.write_text(yaml.safe_dump({"fetch": fetch, "entries_per_shard": 20}), "utf-8")
    process = cluster.start("backfill", "--yes", "--select", "raw_crawl", *ENGINES)
    try:
        deadline = time.monotonic() + 120
        while sum(count for path, count in web.asked.items() if path.startswith("/drip")) < 2:
            assert time.monotonic() < deadline, cluster.logs()
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=300)  # the daemon looks at its backfills every half minute
    finally:
        process.kill()
    assert process.returncode == 1, output
    assert "was cancelled" in output
    running = running_cluster(cluster.settings)
    assert running is not None
    from distributed import Client

    with Client(running.address) as client:
        deadline = time.monotonic() + 30
        while any(client.processing().values()) or any(_executing(client).values()):
            assert time.monotonic() < deadline, "tasks still run"
            time.sleep(0.2)
    asked = sum(web.asked.values())
    time.sleep(2)
    assert sum(web.asked.values()) == asked
    assert read_rows(cluster.warehouse, "SELECT * FROM raw_crawl", tables=["raw_crawl"]) == []


def _executing(client) -> dict[str, int]:  # type: ignore[no-untyped-def]
    return client.run(lambda dask_worker: len(dask_worker.state.executing))  # type: ignore[no-any-return]


def test_two_rival_first_materialisations_neither_double_nor_lose_a_row(cluster: Installation, tmp_path: Path) -> None:
    """The case in which Delta doubles rows: both create the same new partition."""
    rival = (
        "import sys; from veclip_pipelines.commands import context; "
        "done = context.launcher().crawl.index(sys.argv[1], [], lambda seen: None); print(done.success, done.error)"
    )
    for number in range(3):
        key = f"crawl-{number}"
        cluster.veclip("crawl", "add", str(write_drop(tmp_path / key, numbered_entries(40), per_shard=10)))
        command = [sys.executable, "-c", rival, key]
        both = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)
        ]
        outputs = [process.communicate(timeout=200)[0] for process in both]
        assert any(re.search(r"^True", output, re.MULTILINE) for output in outputs), outputs
        rows = read_rows(
            cluster.warehouse, "SELECT source_key FROM raw_crawl WHERE crawl_partition = ?", [key], tables=["raw_crawl"]
        )
        assert len(rows) == len({row["source_key"] for row in rows}) == 40, outputs
