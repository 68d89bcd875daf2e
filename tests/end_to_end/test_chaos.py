"""SIGKILL to a worker, the command line's process, Dagster's run process and the scheduler, at random moments in a partition.

Whatever is hit and when: after a rerun the tables equal those of an undisturbed run, row by row, and no batch that was finished
has run again. One moment each; ``make test-full`` tries twenty (VECLIP_TEST_FULL=1).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from builders import numbered_entries, write_drop
from command_line import call
from installation import ENGINES, Installation
from made_once import made_once, migrated_home

from veclip_pipelines.compute.cluster import cluster_down, cluster_up, running_cluster
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

FULL = bool(os.environ.get("VECLIP_TEST_FULL"))
MOMENTS = 20 if FULL else 1
PICTURES = 40
_SECONDS = 150
_CAPTIONS = ("concept_captions", "vecap")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_engines"), pytest.mark.timeout(3600 if FULL else 400)]


def worker_processes(installation: Installation) -> list[psutil.Process]:
    """The two workers themselves, below their nannies."""
    info = running_cluster(installation.settings)
    assert info is not None
    parent = psutil.Process(info.processes[1][0])
    return [child for child in parent.children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def indexed_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose one crawl partition is indexed."""
    return made_once(tmp_path_factory, "chaos", partial(_index, tmp_path_factory)) / "home"


def _index(factory: pytest.TempPathFactory, folder: Path) -> None:
    drop = write_drop(folder / "crawl", numbered_entries(PICTURES), per_shard=PICTURES)
    settings = Settings.from_env({"VECLIP_HOME": str(folder / "home")})
    shutil.copytree(migrated_home(factory), settings.home)
    done = call("crawl", "add", str(drop), **settings.environment())
    assert done.returncode == 0, done.stderr
    subprocess.run(_dagster("raw_crawl"), check=True, timeout=_SECONDS, env={**os.environ, **settings.environment()})


def _dagster(assets: str) -> list[str]:
    program = str(Path(sys.executable).with_name("dagster"))
    return [program, "asset", "materialize", "-m", "veclip_pipelines.definitions", "--select", assets, "--partition", "crawl"]  # fmt: skip


def by_command_line(installation: Installation) -> subprocess.Popen[str]:
    return installation.start("materialize", *ENGINES, "--partition", "crawl")


def by_dagster(installation: Installation) -> subprocess.Popen[str]:
    """Dagster's own command: a run that our command line knows nothing of."""
    del installation
    engines = {"VECLIP_CONCEPT_ENGINE": "seer", "VECLIP_FUSION_ENGINE": "mine"}
    return subprocess.Popen(
        _dagster("concept_captions,vecap"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, **engines},
    )  # fmt: skip


def kill_worker(installation: Installation, run: subprocess.Popen[str]) -> None:
    del run
    victims = worker_processes(installation)
    if victims:
        victims[0].send_signal(signal.SIGKILL)


def kill_run(installation: Installation, run: subprocess.Popen[str]) -> None:
    del installation
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGKILL)


def kill_scheduler(installation: Installation, run: subprocess.Popen[str]) -> None:
    del run
    info = running_cluster(installation.settings)
    assert info is not None
    os.kill(info.processes[0][0], signal.SIGKILL)


VICTIMS: dict[str, tuple[Callable[[Installation], subprocess.Popen[str]], Callable[..., None]]] = {
    "worker": (by_command_line, kill_worker),
    "command line": (by_command_line, kill_run),
    "Dagster run": (by_dagster, kill_run),
    "scheduler": (by_command_line, kill_scheduler),
}


def rows_of(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    """All rows of both tables of captions, in order."""
    return {table: read_rows(warehouse, f"SELECT * FROM {table} ORDER BY ALL", tables=[table]) for table in _CAPTIONS}


def finished_batches(warehouse: Warehouse) -> dict[str, int]:
    """File and time of writing of each finished batch."""
    found: dict[str, int] = {}
    for table in _CAPTIONS:
        found |= {
            str(path): path.stat().st_mtime_ns for path in (Path(warehouse.root) / table).rglob("batch-*.parquet")
        }
    return found


@pytest.mark.parametrize("victim", VICTIMS)
def test_whatever_is_killed_whenever_a_rerun_ends_as_if_nothing_had_been(
    own_cluster: Installation, indexed_home: Path, victim: str
) -> None:
    start, kill = VICTIMS[victim]
    shutil.copytree(indexed_home, own_cluster.settings.home, dirs_exist_ok=True)
    indexed = Path(own_cluster.warehouse.root)
    undisturbed = at(own_cluster, indexed, "undisturbed")
    began = time.monotonic()
    run = start(undisturbed)
    output, _ = run.communicate(timeout=_SECONDS)
    assert run.returncode == 0, output
    seconds = time.monotonic() - began
    expected = rows_of(undisturbed.warehouse)
    assert [len(rows) for rows in expected.values()] == [PICTURES, PICTURES]

    draw = random.Random(victim)
    hit_something = 0
    for moment in range(MOMENTS):
        if running_cluster(own_cluster.settings) is None:
            cluster_down(own_cluster.settings)
            cluster_up(own_cluster.settings)
        trial = at(own_cluster, indexed, f"trial-{moment}")
        run = start(trial)
        time.sleep(draw.uniform(0.3, 1.0) * seconds)
        before = finished_batches(trial.warehouse)
        kill(trial, run)
        output, _ = run.communicate(timeout=_SECONDS)
        assert "Traceback" not in output or victim == "Dagster run", output
        hit_something += run.returncode != 0
        if running_cluster(own_cluster.settings) is None:
            cluster_down(own_cluster.settings)
            cluster_up(own_cluster.settings)
        trial.veclip("materialize", *ENGINES, "--partition", "crawl")
        after = finished_batches(trial.warehouse)
        where = f"{victim}, moment {moment} of {seconds:.1f} s"
        assert {path: after[path] for path in before} == before, where
        assert rows_of(trial.warehouse) == expected, where
        assert "up to date" in trial.veclip("materialize", *ENGINES, "--partition", "crawl").stdout
        shutil.rmtree(trial.warehouse.root)
    print(f"{victim}: {MOMENTS} moments of {seconds:.1f} s, {hit_something} runs did not live through it")


def at(installation: Installation, indexed: Path, name: str) -> Installation:
    """The installation with a copy of the indexed warehouse; the environment points to it."""
    root = indexed.with_name(f"warehouse-{name}")
    shutil.copytree(indexed, root)
    os.environ["VECLIP_WAREHOUSE"] = str(root)
    return Installation(installation.settings, Warehouse.at(str(root)))
