"""What is expensive to make: made once per session, by whichever worker comes first, and copied by each test that starts from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.mlflow_tracking import make_store


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that is made once, and that all workers of this session read.

    Args:
        make: fills the folder that it is given. Where it fails, the next one tries again.
    """
    base = factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder, whole = shared / name, shared / f"{name}.whole"
    with FileLock(shared / f"{name}.lock"):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            # In its own place from the start: a warehouse holds whole paths.
            make(folder)
            whole.touch()
    return folder


def migrated_home(factory: pytest.TempPathFactory) -> Path:
    """A home in which Dagster's and MLflow's stores are migrated and empty, and nothing else is."""
    return made_once(factory, "migrated-home", _migrate)


def _migrate(home: Path) -> None:
    import dagster as dg

    settings = Settings.from_env({"VECLIP_HOME": str(home)})
    make_store(Path(settings.mlflow_tracking_uri.removeprefix("sqlite:///")))
    settings.dagster_home.mkdir()
    shutil.copyfile(Path(__file__).parents[1] / "dagster_home" / "dagster.yaml", settings.dagster_home / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        # Each of the three storages makes its tables when it is first asked.
        instance.get_runs(limit=1)
        instance.get_dynamic_partitions("none")
        instance.get_daemon_heartbeats()
        instance.all_instigator_state()
