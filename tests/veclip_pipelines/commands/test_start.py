"""The start of the program: a command that only reads does not import what it does not need, because imports cost seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from builders import numbered_entries, write_drop

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import inspect_drop, register_drop
from veclip_pipelines.tables.warehouse import Warehouse

HEAVY = {
    "torch",
    "transformers",
    "mlflow",
    "dagster",
    "pandas",
    "distributed",
    "dask",
    "sklearn",
    "skimage",
    "matplotlib",
}


@pytest.mark.parametrize("command", ["--help", "crawl list"])
def test_a_command_imports_only_what_it_needs(
    settings: Settings, warehouse: Warehouse, tmp_path: Path, command: str
) -> None:
    register_drop(warehouse, inspect_drop(str(write_drop(tmp_path / "drop", numbered_entries(2)))), "p", run_id="r")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "veclip_pipelines.cli", *command.split()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ("Usage" if command == "--help" else "p") in done.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "veclip_pipelines" in imported
    assert not imported & HEAVY
