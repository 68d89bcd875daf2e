"""New drops are ingested automatically: the landing sensor, materialising up to vecap, drops that grow, one that always fails, many."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml
from builders import DropEntry, numbered_entries, write_drop, write_profile
from installation import Installation

from veclip_pipelines.commands.supervisor import daemon
from veclip_pipelines.tables.query import read_rows

pytestmark = pytest.mark.slow

#: A run takes some three seconds to start: CI has time for a few, make test-full for all.
DROPS, CARRIED = (200, 10) if os.environ.get("VECLIP_TEST_FULL") else (14, 4)


@pytest.fixture
def landing(cluster: Installation, tmp_path: Path) -> Path:
    """A landing place that crawl.yaml names."""
    place = tmp_path / "landing"
    place.mkdir()
    policy = {"landing": [{"uri": str(place), "quiet_seconds": 0}]}
    cluster.settings.crawl_file.write_text(yaml.safe_dump(policy), "utf-8")
    return place


@pytest.fixture
def small_defaults(cluster: Installation, tiny_llava: Path, tiny_llama: Path) -> None:
    """The default engine profiles, by the user's own files of the same names: small models of the same architectures."""
    write_profile(
        cluster.settings.home, "tagger", purpose="concept", kind="transformers-image-text", model=str(tiny_llava), prompt="concept",
        decoding={"max_new_tokens": 16}, batch_rows=4,
    )  # fmt: skip
    write_profile(
        cluster.settings.home, "smollm2-fusion", purpose="fusion", kind="transformers-text", model=str(tiny_llama), prompt="fusion",
        decoding={"max_new_tokens": 8}, batch_rows=4,
    )  # fmt: skip


def land(place: Path, name: str, entries: list[DropEntry]) -> Path:
    """Writes a drop beside the landing place and moves it in, as a careful uploader does."""
    return write_drop(place.parent / "uploading" / name, entries).rename(place / name)


def rows(cluster: Installation, table: str) -> dict[str, int]:
    found = read_rows(
        cluster.warehouse, f"SELECT crawl_partition AS key, count(*) AS n FROM {table} GROUP BY 1", tables=[table]
    )
    return {row["key"]: row["n"] for row in found}


def materialised(cluster: Installation) -> set[str]:
    return {row["asset"] for row in read_rows(cluster.warehouse, "SELECT asset FROM provenance", tables=["provenance"])}


def wait_for(what: Callable[[], bool], seconds: float, logs: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, logs()
        time.sleep(0.2)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("small_defaults", "quick_daemon")
def test_a_drop_that_lands_is_carried_through_to_vecap_and_one_that_grows_is_replaced(
    cluster: Installation, landing: Path
) -> None:
    cluster.veclip("crawl", "list")
    first = land(landing, "crawl-1", numbered_entries(4))
    unfinished = write_drop(landing / "crawl-2", numbered_entries(3, first=10))
    (unfinished / "00000_stats.json").rename(unfinished.parent / "stats-later")
    from assets.orchestration.launching import prepare_dagster_home

    prepare_dagster_home(cluster.settings)
    with daemon(cluster.settings, running=False):
        wait_for(lambda: rows(cluster, "vecap") == {"crawl-1": 4}, 240, cluster.logs)
        wait_for(lambda: "duplicates" in materialised(cluster), 90, cluster.logs)
        assert rows(cluster, "raw_crawl") == {"crawl-1": 4}, "an unfinished drop is not taken"
        # It grows by a shard, and the other one is finished.
        for path in write_drop(landing.parent / "more", numbered_entries(2, first=20)).iterdir():
            shutil.move(path, first / path.name.replace("00000", "00001"))
        (unfinished.parent / "stats-later").rename(unfinished / "00000_stats.json")
        wait_for(lambda: rows(cluster, "vecap") == {"crawl-1": 6, "crawl-2": 3}, 240, cluster.logs)
    by = {row["launched_by"] for row in read_rows(cluster.warehouse, "SELECT * FROM provenance", tables=["provenance"])}
    assert {"sensor landing_sensor", "sensor carry_on"} <= by


@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("small_defaults")
def test_many_drops_and_one_that_always_fails(cluster: Installation, landing: Path, quick_daemon: str) -> None:
    from assets.orchestration.launching import prepare_dagster_home

    prepare_dagster_home(cluster.settings)
    keys = [f"drop-{number:03d}" for number in range(DROPS)]
    for number, key in enumerate(keys):
        # Distinct pictures for those that are captioned: a picture is captioned once, and this test counts.
        entries = numbered_entries(3, first=3 * number)
        land(landing, key, entries if number != 7 else [DropEntry("x", b"no picture")] * 3)
    # Only raw_crawl by itself: some are carried to vecap by a backfill below.
    instance = dg.DagsterInstance.from_config(str(cluster.settings.dagster_home))
    # Before there is a daemon: one that writes a sensor's state down at the same moment makes this command fail.
    stop_sensor(cluster, quick_daemon, "carry_on")
    with daemon(cluster.settings, running=False):
        started = time.monotonic()
        wait_for(lambda: len(rows(cluster, "raw_crawl")) == DROPS - 1, 1000, cluster.logs)
        seconds = time.monotonic() - started
        print(f"{DROPS} drops in {seconds:.0f} s")
        chosen = [argument for key in keys[10 : 10 + CARRIED] for argument in ("--partition", key)]
        done = cluster.veclip("backfill", "--yes", *chosen)
    assert "concept_captions" in done.stdout
    assert rows(cluster, "raw_crawl") == {key: 3 for key in keys if key != keys[7]}
    assert rows(cluster, "vecap") == dict.fromkeys(keys[10 : 10 + CARRIED], 3)
    failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    assert {run.tags["dagster/partition"] for run in failed} == {keys[7]}
    assert len(failed) == 1, "a drop that always fails is not tried again before it changes"
    assert len(set(instance.get_dynamic_partitions("crawl_partition"))) == DROPS


def stop_sensor(cluster: Installation, module: str, name: str) -> None:
    """As a person does in the UI."""
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "sensor", "stop", name, "-m", module],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{cluster.logs()}"
