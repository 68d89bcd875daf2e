"""A warehouse on a file system that is really full: a clear error, nothing half-written, and a rerun that carries on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import numbered_entries, write_drop
from installation import ENGINES, Installation

from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_engines")]

PICTURES = 40


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(own_cluster: Installation, small_disk: Path, tmp_path: Path) -> None:
    os.environ["VECLIP_WAREHOUSE"] = str(small_disk)
    warehouse = Warehouse.at(str(small_disk))
    own_cluster.veclip(
        "crawl", "add", str(write_drop(tmp_path / "crawl", numbered_entries(PICTURES), per_shard=PICTURES))
    )
    done = own_cluster.veclip("materialize", *ENGINES, "--partition", "crawl", succeeds=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert read_rows(warehouse, "SELECT * FROM concept_captions", tables=["concept_captions"]) == []
    assert list(small_disk.rglob("*.tmp")) == []
    finished = {path.name: path.stat().st_mtime_ns for path in small_disk.rglob("batch-*.parquet")}
    assert 0 < len(finished) < PICTURES

    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    own_cluster.veclip("materialize", *ENGINES, "--partition", "crawl")
    assert len(read_rows(warehouse, "SELECT * FROM concept_captions", tables=["concept_captions"])) == PICTURES
    after = {path.name: path.stat().st_mtime_ns for path in (small_disk / "concept_captions").rglob("batch-*.parquet")}
    assert len(after) == PICTURES
    assert {name: after[name] for name in finished if name in after} == finished
