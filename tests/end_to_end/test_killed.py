"""SIGKILL in the middle of a partition: the tables are as before or whole, and no finished batch runs twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from builders import numbered_entries, write_drop
from installation import ENGINES, Installation

from veclip_pipelines.cluster import running_cluster
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_engines")]

PICTURES = 60
_SECONDS = 120


def batch_files(installation: Installation) -> dict[str, int]:
    """Finished batches of concept captions: name and time of writing."""
    folder = Path(installation.warehouse.root) / "concept_captions"
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("batch-*.parquet")}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def captions(installation: Installation) -> list[tuple[str, str]]:
    rows = read_rows(
        installation.warehouse,
        "SELECT image_sha256, text FROM concept_captions ORDER BY 1",
        tables=["concept_captions"],
    )
    return [(row["image_sha256"], row["text"]) for row in rows]


def worker_processes(installation: Installation) -> list[psutil.Process]:
    """The two workers themselves, below their nannies."""
    info = running_cluster(installation.settings)
    assert info is not None
    parent = psutil.Process(info.processes[1][0])
    return [child for child in parent.children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]


def test_a_worker_killed_in_the_middle_costs_nothing(cluster: Installation, tmp_path: Path) -> None:
    cluster.veclip("crawl", "add", str(write_drop(tmp_path / "crawl", numbered_entries(PICTURES), per_shard=PICTURES)))
    run = cluster.start("materialize", *ENGINES, "--partition", "crawl")
    wait_for(lambda: len(batch_files(cluster)) >= 5)
    before = batch_files(cluster)
    victim = worker_processes(cluster)[0]
    victim.send_signal(signal.SIGKILL)
    output, _ = run.communicate(timeout=_SECONDS)
    assert run.returncode == 0, output
    rows = captions(cluster)
    assert len(rows) == len({key for key, _ in rows}) == PICTURES
    after = batch_files(cluster)
    assert len(after) == PICTURES
    assert {name: after[name] for name in before} == before


def test_a_driver_killed_in_the_middle_leaves_the_tables_as_they_were(cluster: Installation, tmp_path: Path) -> None:
    cluster.veclip("crawl", "add", str(write_drop(tmp_path / "crawl", numbered_entries(PICTURES), per_shard=PICTURES)))
    run = cluster.start("materialize", *ENGINES, "--partition", "crawl")
    wait_for(lambda: len(batch_files(cluster)) >= 5)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    time.sleep(1)
    before = batch_files(cluster)
    assert 5 <= len(before) < PICTURES
    assert captions(cluster) == []
    cluster.veclip("materialize", *ENGINES, "--partition", "crawl")
    after = batch_files(cluster)
    assert len(captions(cluster)) == len(after) == PICTURES
    assert {name: after[name] for name in before} == before

    # And the captions are those of a run that nothing disturbed.
    disturbed = dict(captions(cluster))
    whole = Installation(cluster.settings, Warehouse.at(cluster.warehouse.root + "-2"))
    os.environ["VECLIP_WAREHOUSE"] = whole.warehouse.root
    whole.veclip("crawl", "add", str(tmp_path / "crawl"))
    whole.veclip("materialize", *ENGINES, "--partition", "crawl")
    assert dict(captions(whole)) == disturbed


def test_a_command_that_is_ended_politely_leaves_no_cluster_and_no_run_alive(
    installation: Installation, tmp_path: Path
) -> None:
    """SIGTERM while a step's own workers are at it."""
    installation.veclip(
        "crawl", "add", str(write_drop(tmp_path / "crawl", numbered_entries(PICTURES), per_shard=PICTURES))
    )
    run = installation.start("materialize", *ENGINES, "--partition", "crawl")
    wait_for(lambda: len(batch_files(installation)) >= 3)
    family = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGTERM)
    output, _ = run.communicate(timeout=_SECONDS)
    assert run.returncode == 1, output
    _, left = psutil.wait_procs(family, timeout=20)
    assert left == []
    assert captions(installation) == []
    assert installation.veclip("materialize", *ENGINES, "--partition", "crawl").returncode == 0
    assert len(captions(installation)) == PICTURES
