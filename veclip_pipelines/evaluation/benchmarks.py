"""Benchmarks on disk: which folders are benchmarks, and how one is opened, whatever its layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation.benchmark_kinds import RetrievalBenchmark, ZeroShotBenchmark
from veclip_pipelines.evaluation.layouts import LAYOUTS


def open_benchmark(folder: Path, split: str = "test") -> RetrievalBenchmark | ZeroShotBenchmark:
    """Reads a benchmark.

    Raises:
        UsageError: the folder is in no known layout, a picture is missing, or the split is empty.
    """
    for layout in LAYOUTS:
        if layout.recognises(folder):
            return layout.read(folder, split)
    known = "; ".join(layout.name for layout in LAYOUTS)
    raise UsageError(f"{folder} is no benchmark in a layout that is known: {known}.")


def benchmark_folders(root: Path, wanted: Literal["all"] | Sequence[str]) -> list[Path]:
    """The folders of the benchmarks that a recipe asks for.

    Raises:
        UsageError: there is none at all.
    """
    if wanted != "all":
        return [root / name for name in wanted]
    folders = sorted(path for path in root.glob("*") if path.is_dir() and not path.name.startswith("."))
    found = [path for path in folders if any(layout.recognises(path) for layout in LAYOUTS)]
    if not found:
        raise UsageError(
            f"there is no benchmark in {root}: put folders there, each {' or '.join(layout.name for layout in LAYOUTS)}. "
            "veclip demo writes a small one."
        )
    return found
