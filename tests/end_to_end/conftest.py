"""An installation of its own for each test: real commands, real Dagster runs, a real Dask cluster."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from builders import write_profile
from installation import Installation
from made_once import migrated_home

from veclip_pipelines.commands import supervisor
from veclip_pipelines.commands.supervisor import Service
from veclip_pipelines.compute.cluster import cluster_down, cluster_up, running_cluster
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.tables.warehouse import Warehouse

_TESTS = Path(__file__).parents[1]


@pytest.fixture
def installation(settings: Settings, warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A home with migrated stores and nothing in them."""
    shutil.copytree(migrated_home(tmp_path_factory), settings.home)
    return Installation(settings, warehouse)


@pytest.fixture(scope="session")
def workers_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The home of the one cluster that the tests of this process share; the first test that needs it starts it."""
    settings = Settings.from_env({"VECLIP_HOME": str(tmp_path_factory.mktemp("cluster"))})
    try:
        yield settings
    finally:
        cluster_down(settings)


@pytest.fixture
def cluster(installation: Installation, workers_home: Settings) -> Iterator[Installation]:
    """The installation with a scheduler and two workers running: those of the previous test, switched over to this installation.

    They keep what they have loaded: an engine is found again by its id and its model's folder.
    """
    with _environment(installation.settings):
        # A test may have stopped them.
        info = running_cluster(workers_home) or cluster_up(workers_home)
        _tell_workers(info.address, installation.settings.environment())
        installation.settings.cluster_file.write_text(json.dumps(asdict(info)), "utf-8")
        yield installation


@pytest.fixture
def own_cluster(installation: Installation) -> Iterator[Installation]:
    """The installation with a cluster that the test may do anything to."""
    with _environment(installation.settings):
        try:
            cluster_up(installation.settings)
            yield installation
        finally:
            cluster_down(installation.settings)


@pytest.fixture
def quick_daemon(monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes daemons that commands in this process start look every second; the module of the graph that they run."""
    module = "quick_definitions"
    command = (sys.executable, str(_TESTS / "quick_daemon.py"), "run", "-m", module)
    monkeypatch.setattr(supervisor, "_daemon_service", lambda: Service("Dagster daemon", command, None))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(_TESTS), os.environ.get("PYTHONPATH")))))
    return module


@contextmanager
def _environment(settings: Settings) -> Iterator[None]:
    """Like ``eval "$(veclip env)"``: what programs other than ours start uses this home, too."""
    os.environ.update(settings.environment())
    try:
        yield
    finally:
        for name in settings.environment():
            if name != "VECLIP_HOME":
                os.environ.pop(name, None)


def _tell_workers(address: str, environment: dict[str, str]) -> None:
    from distributed import Client

    with Client(address) as client:
        client.wait_for_workers(2, timeout=60)
        client.run(os.environ.update, environment)


@pytest.fixture
def small_engines(settings: Settings, tiny_llava: Path, tiny_llama: Path, installation: Installation) -> None:
    """Profiles seer and mine: real LLaVA and Llama architectures with small weights, one picture per batch."""
    write_profile(
        settings.home, "seer", purpose="concept", kind="transformers-image-text", model=str(tiny_llava), prompt="concept",
        decoding={"max_new_tokens": 16}, batch_rows=1,
    )  # fmt: skip
    write_profile(
        settings.home, "mine", purpose="fusion", kind="transformers-text", model=str(tiny_llama), prompt="fusion",
        decoding={"max_new_tokens": 8}, batch_rows=4,
    )  # fmt: skip
