"""A command that is terminated politely in the middle of a partition. SIGKILL is in test_chaos.py."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from builders import numbered_entries, write_drop
from installation import ENGINES, Installation

from veclip_pipelines.tables.query import read_rows

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
