"""Fixtures. Everything lives in a temporary VECLIP_HOME; no hub is ever asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
# It takes a variable out of the environment in a thread of its own, while requests goes through all of them: KeyError.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from builders import write_tiny_llama, write_tiny_llava

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.tables.warehouse import Warehouse


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several run at once, those that may take longest begin first: no worker waits at the end for another's longest."""
    if hasattr(config, "workerinput"):

        def seconds(item: pytest.Item) -> float:
            mark = item.get_closest_marker("timeout")
            return float(mark.args[0] if mark else config.getini("timeout"))

        items.sort(key=lambda item: (-seconds(item), item.get_closest_marker("slow") is None))


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


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llava(tmp_path_factory.mktemp("models") / "tiny-llava")


@pytest.fixture(scope="session")
def demo_models() -> Path:
    """The demo's real models. ``make test`` installs them; without them what needs them is skipped, and says so."""
    folder = Path(os.environ.get("VECLIP_TEST_MODELS", Path(__file__).parents[1] / "veclip_home" / "models")).resolve()
    if not (folder / "smollm2-135m-instruct").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"the demo's models are not in {folder}: make models installs them")
        pytest.skip(f"the demo's models are not in {folder}: make models installs them")
    return folder
