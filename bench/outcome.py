"""What every benchmark prints: a table, the machine, and as its last line one JSON object."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Result:
    """One comparison. ``ours`` and ``peer`` are in ``unit``; ratio above 1 means that we are faster (or smaller)."""

    name: str
    unit: str
    n: int
    ours: float
    peer: float
    peer_name: str
    ratio: float


def report(result: Result, details: Mapping[str, str], *, keep: bool) -> None:
    """Prints a result, and keeps it in bench/results/ where it is asked for."""
    table = Table("", result.unit, title=f"{result.name}, n = {result.n}")
    table.add_row("ours", f"{result.ours:.2f}")
    table.add_row(result.peer_name, f"{result.peer:.2f}")
    table.add_row("ratio", f"{result.ratio:.2f}")
    console = Console()
    console.print(table)
    machine = {"date": datetime.now(UTC).date().isoformat(), "processor": _processor(), "cores": str(os.cpu_count())}
    for key, value in {**machine, **details}.items():
        console.print(f"{key}: {value}")
    if keep:
        RESULTS.mkdir(exist_ok=True)
        content = {**asdict(result), **machine, **details}
        (RESULTS / f"{result.name}.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    print(json.dumps(asdict(result)))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
