"""The order in which tests are given to several workers, and what is recorded for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import recorded_seconds
from recorded_seconds import SecondsRecorder, longest_first


class Item:
    """What the order needs of a test."""

    def __init__(self, nodeid: str, **marks: pytest.Mark) -> None:
        self.nodeid = nodeid
        self._marks = marks

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return self._marks.get(name)


def test_the_longest_comes_first_and_a_group_stays_together() -> None:
    group, slow = pytest.mark.xdist_group("g").mark, pytest.mark.slow.mark
    items = [
        Item("t.py::quick"), Item("t.py::one@g", xdist_group=group), Item("t.py::long"), Item("t.py::new", slow=slow),
        Item("t.py::two@g", xdist_group=group),
    ]  # fmt: skip
    seconds = {"t.py::one": 30.0, "t.py::long": 50.0, "t.py::two": 25.0}
    ordered = longest_first(items, seconds)  # type: ignore[arg-type]
    names = [item.nodeid.partition("::")[2] for item in ordered]
    assert names == ["new", "one@g", "two@g", "long", "quick"]


def test_what_was_not_run_keeps_its_seconds_and_what_is_gone_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = "tests/test_recorded_seconds.py::test_the_longest_comes_first_and_a_group_stays_together"
    gone = "tests/test_recorded_seconds.py::test_no_more"
    # As beside the tests: a node id begins at the folder above.
    file = tmp_path / "tests" / "seconds.json"
    file.parent.mkdir()
    (file.parent / "test_recorded_seconds.py").write_text(Path(__file__).read_text("utf-8"))
    file.write_text(json.dumps({here: 7.0, gone: 9.0, "tests/none.py::test_x": 3.0}))
    monkeypatch.setattr(recorded_seconds, "_FILE", file)
    recorder = SecondsRecorder()
    for phase, seconds in (("setup", 1.0), ("call", 2.0)):
        recorder.pytest_runtest_logreport(
            pytest.TestReport("tests/n.py::new[a-b]@g", ("", 0, ""), {}, "passed", None, phase, duration=seconds)  # type: ignore[arg-type]
        )
    recorder.pytest_sessionfinish()
    assert json.loads(file.read_text("utf-8")) == {here: 7.0, "tests/n.py::new[a-b]": 3.0}
