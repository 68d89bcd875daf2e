"""How long each test took when last recorded (seconds.json), and the order in which that gives the tests to several workers."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

_FILE = Path(__file__).with_name("seconds.json")
#: Of the many that take less it does not matter when they run.
_LEAST = 0.5
#: Of a slow test that is not recorded yet.
_UNKNOWN = 60.0


def recorded_seconds() -> dict[str, float]:
    """Seconds of each test that takes any, by its node id: setup, call and teardown."""
    found: dict[str, float] = json.loads(_FILE.read_text("utf-8"))
    return found


def longest_first(items: Sequence[pytest.Item], seconds: Mapping[str, float]) -> list[pytest.Item]:
    """The tests in the order in which they are given out; those of an xdist_group together, where all their seconds put them."""

    def group(item: pytest.Item) -> str:
        mark = item.get_closest_marker("xdist_group")
        return str(mark.args[0]) if mark else item.nodeid

    total: defaultdict[str, float] = defaultdict(float)
    for item in items:
        unknown = _UNKNOWN if item.get_closest_marker("slow") else 0.0
        total[group(item)] += seconds.get(_plain(item.nodeid), unknown)
    return sorted(items, key=lambda item: -total[group(item)])


class SecondsRecorder:
    """Writes the seconds of a session into the file; tests that were not run keep theirs, and those that are gone go."""

    def __init__(self) -> None:
        self._taken: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._taken[_plain(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        known = {name: taken for name, taken in recorded_seconds().items() if _exists(name)}
        kept = {name: round(taken, 1) for name, taken in (known | self._taken).items() if taken >= _LEAST}
        ordered = dict(sorted(kept.items(), key=lambda item: (-item[1], item[0])))
        _FILE.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")


def _plain(nodeid: str) -> str:
    """Without the name of the group that xdist puts behind it."""
    return re.sub(r"@[\w-]+$", "", nodeid)


def _exists(nodeid: str) -> bool:
    path, _, name = nodeid.partition("::")
    file = _FILE.parents[1] / path
    return file.is_file() and f"def {name.partition('[')[0]}(" in file.read_text("utf-8")
