"""Fixtures. Everything lives in a temporary VECLIP_HOME; no hub is ever asked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
# It removes a variable from the environment in a thread of its own, while requests iterates over all of them: KeyError.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# The tests' models are too small for two threads, and several tests run at once.
os.environ["OMP_NUM_THREADS"] = "1"

from builders import write_tiny_llama, write_tiny_llava
from made_once import made_once, migrated_home
from recorded_seconds import SecondsRecorder, longest_first, recorded_seconds

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.tables.warehouse import Warehouse

_MEMORY, _MEMORY_WANTED = Path("/dev/shm"), 4 << 30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-seconds", action="store_true", help="Write how long each test took into tests/seconds.json."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Temporary folders in memory, if there is room.

    Dagster's and MLflow's SQLite wait for the disk at every event, 3 ms each and thousands of them. No test depends on that: what a
    killed process has written is still there.
    """
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MEMORY_WANTED:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    if config.getoption("--write-seconds") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SecondsRecorder())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """If several tests run at once, the longest begin first, so that no worker waits at the end for another's test."""
    if hasattr(config, "workerinput"):
        items[:] = longest_first(items, recorded_seconds())


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A fresh home; the environment points to it, so that child processes see it too."""
    for name in Settings.variables().values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VECLIP_HOME", str(tmp_path / "home"))
    return Settings.from_env()


@pytest.fixture
def warehouse(settings: Settings) -> Warehouse:
    return Warehouse.at(settings.warehouse)


@pytest.fixture
def migrated_store(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
    """MLflow's store in the home, migrated and empty."""
    shutil.copytree(migrated_home(tmp_path_factory) / "mlflow", settings.home / "mlflow")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "tiny-llama", write_tiny_llama)


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "tiny-llava", write_tiny_llava)


@pytest.fixture(scope="session")
def demo_models() -> Path:
    """The demo's real models. ``make test`` installs them; without them, tests that need them are skipped, and say so."""
    folder = Path(os.environ.get("VECLIP_TEST_MODELS", Path(__file__).parents[1] / "veclip_home" / "models")).resolve()
    if not (folder / "smollm2-135m-instruct").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"the demo's models are not in {folder}: make models installs them")
        pytest.skip(f"the demo's models are not in {folder}: make models installs them")
    return folder
