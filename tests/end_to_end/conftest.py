"""An installation of its own for each test: real command line, real Dagster runs, a real Dask cluster, stopped afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import write_profile
from installation import Installation

from veclip_pipelines.compute.cluster import cluster_down, cluster_up
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.tables.warehouse import Warehouse


@pytest.fixture
def installation(settings: Settings, warehouse: Warehouse) -> Installation:
    return Installation(settings, warehouse)


@pytest.fixture
def cluster(installation: Installation) -> Iterator[Installation]:
    """The installation with scheduler and two workers up."""
    os.environ.update(installation.settings.environment())
    try:
        cluster_up(installation.settings)
        yield installation
    finally:
        cluster_down(installation.settings)
        for name in installation.settings.environment():
            if name != "VECLIP_HOME":
                os.environ.pop(name, None)


@pytest.fixture
def small_engines(settings: Settings, tiny_llava: Path, tiny_llama: Path) -> None:
    """Profiles seer and mine: real LLaVA and Llama architectures with small weights, one picture a batch."""
    write_profile(
        settings.home, "seer", purpose="concept", kind="transformers-image-text", model=str(tiny_llava), prompt="concept",
        decoding={"max_new_tokens": 16}, batch_rows=1,
    )  # fmt: skip
    write_profile(
        settings.home, "mine", purpose="fusion", kind="transformers-text", model=str(tiny_llama), prompt="fusion",
        decoding={"max_new_tokens": 8}, batch_rows=4,
    )  # fmt: skip
