"""VeCap-300M's JSON: one object of millions of pairs, in constant memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.crawl.formats.vecap_json import read_entries
from veclip_pipelines.errors import UsageError


def test_pairs_become_entries_with_an_imported_caption(tmp_path: Path) -> None:
    pairs = {f"https://x.example/{number}.jpg": f"caption {number} “quoted” \\ é" for number in range(5)}
    (tmp_path / "wit_300m-01-of-10.json").write_text(json.dumps(pairs), "utf-8")
    drop = inspect_drop(str(tmp_path))
    assert (drop.format, drop.label, drop.entries) == ("vecap-json", "vecap-300m", None)
    entries = list(read_entries(str(tmp_path), "wit_300m-01-of-10.json"))
    assert {entry.url: entry.captions["vecap"] for entry in entries} == pairs
    assert {entry.alt_text_raw for entry in entries} == {""}


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.json"
        with path.open("w") as file:
            file.write("{")
            file.writelines(
                f'{"," if number else ""}"https://x.example/{number}": "a caption of some words"'
                for number in range(count)
            )
            file.write("}")
        tracemalloc.start()
        assert sum(1 for _ in read_entries(str(tmp_path), path.name)) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    small, large = peak(2_000), peak(40_000)
    assert large < 1.2 * small


def test_a_file_that_breaks_off_says_so_and_keeps_the_rest(tmp_path: Path) -> None:
    good = ",".join(f'"https://x.example/{number}": "caption {number}"' for number in range(2000))
    (tmp_path / "a.json").write_text("{" + good + ', "https://x.example/odd": ["odd"], "https://x.exa', "utf-8")
    entries = list(read_entries(str(tmp_path), "a.json"))
    assert entries[-1].fault == (
        "broken_source",
        f"the JSON breaks off after {len(entries) - 1} entries: IncompleteJSONError",
    )
    # The parser reads some kilobytes ahead, and drops what it had of those.
    assert 1800 <= len(entries) - 1 <= 2001
    assert not any(entry.fault for entry in entries[:1800])


def test_a_value_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"https://x.example/1": "one", "https://x.example/2": ["odd"]}', "utf-8")
    assert [entry.fault is None for entry in read_entries(str(tmp_path), "a.json")] == [True, False]


@pytest.mark.parametrize("content", ["[1, 2]", "", '{"a": 1}', "{}", "not json"])
def test_other_json_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content, "utf-8")
    with pytest.raises(UsageError, match=r"a\.json is not in VeCap-300M's form"):
        inspect_drop(str(tmp_path))
