"""What is to be done about drops that land: a pure function, and how a folder is listed."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from builders import numbered_entries, write_drop
from drops import write_plain_tar

from veclip_pipelines.crawl.drops import RegisteredDrop
from veclip_pipelines.crawl.formats.listing import Listing
from veclip_pipelines.crawl.landing import LandedDrop, LandingChanges, landed_drops, landing_changes
from veclip_pipelines.crawl.policy import LandingPlace
from veclip_pipelines.errors import UsageError


def landed(key: str, fingerprint: str = "f1", waiting: str = "", uri: str = "") -> LandedDrop:
    uri = uri or f"/landing/{key}"
    return LandedDrop(key, uri, fingerprint, waiting, Listing(uri, ()))


def known(key: str, fingerprint: str = "f1", **changed: Any) -> RegisteredDrop:
    values = {
        "crawl_partition": key, "uri": f"/landing/{key}", "format": "webdataset", "fingerprint": fingerprint, "entries": None,
        "shards": 1, "state": "active", "label": "", "registered_by": "me", "registered_at": datetime.now(UTC), **changed,
    }  # fmt: skip
    return RegisteredDrop(**values)


def changes(*drops: LandedDrop, **given: Any) -> LandingChanges:
    registered = {drop.crawl_partition: drop for drop in given.get("registered", ())}
    return landing_changes(
        drops, registered, given.get("indexed", {}), given.get("in_flight", ()), given.get("limit", 500)
    )


def keys(drops: tuple[LandedDrop, ...]) -> list[str]:
    return [drop.key for drop in drops]


def test_new_drops_are_registered_and_indexed() -> None:
    found = changes(landed("b"), landed("a"))
    assert (keys(found.register), keys(found.index), found.waiting, found.refused) == (["a", "b"], ["a", "b"], {}, {})


def test_what_is_known_and_indexed_is_left_alone() -> None:
    assert changes(landed("a"), registered=[known("a")], indexed={"a": "f1"}) == changes()


def test_a_drop_that_grew_is_registered_and_indexed_again() -> None:
    found = changes(landed("a", "f2"), registered=[known("a")], indexed={"a": "f1"})
    assert (keys(found.register), keys(found.index)) == (["a"], ["a"])


def test_what_a_crash_left_undone_is_asked_for_again_and_not_written_down_twice() -> None:
    found = changes(landed("a"), registered=[known("a")])
    assert (keys(found.register), keys(found.index)) == ([], ["a"])


def test_an_unfinished_drop_and_one_in_flight_wait() -> None:
    found = changes(landed("a", waiting="not done"), landed("b", "f2"), registered=[known("b")], in_flight={"b"})
    assert found.index == ()
    assert found.waiting == {"a": "not done", "b": "a run is at work on its partition"}


@pytest.mark.parametrize("state", ["pinned", "retired"])
def test_what_a_person_decided_stays(state: str) -> None:
    assert changes(landed("a", "f2"), registered=[known("a", state=state)], indexed={"a": "f1"}).index == ()


def test_keys_that_will_not_do_and_keys_twice_are_refused() -> None:
    found = changes(
        landed("a b"), landed("c"), landed("c", uri="/other/c"), landed("d"), registered=[known("d", uri="/else/d")]
    )
    assert keys(found.index) == ["c"]
    assert set(found.refused) == {"/landing/a b", "/other/c", "/landing/d"}


def test_only_so_many_are_taken_at_once() -> None:
    found = changes(*[landed(f"{number:03d}") for number in range(7)], limit=5)
    assert (len(found.index), len(found.register), len(found.waiting)) == (5, 5, 2)


def test_completeness_and_quiet_are_seen(tmp_path: Path) -> None:
    place = LandingPlace(uri=str(tmp_path), quiet_seconds=60)
    whole = write_drop(tmp_path / "whole", numbered_entries(3), per_shard=2)
    half = write_drop(tmp_path / "half", numbered_entries(3), per_shard=2)
    (half / "00001_stats.json").unlink()
    plain = write_plain_tar(tmp_path / "plain" / "0.tar", [("a.jpg", b"x")])
    marked = write_plain_tar(tmp_path / "marked" / "0.tar", [("a.jpg", b"x")])
    (marked / "_SUCCESS").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "_scratch").mkdir()
    (tmp_path / "a file").touch()
    old = time.time() - 3600
    for folder in (whole, half, plain, marked):
        for path in folder.iterdir():
            os.utime(path, (old, old))
    waiting = {drop.key: drop.waiting_for for drop in landed_drops(place)}
    assert waiting == {
        "half": "there is no _SUCCESS and 1 of 2 shards have no _stats.json", "marked": "",
        "plain": "there is no _SUCCESS and 1 of 1 shards have no _stats.json", "whole": "",
    }  # fmt: skip
    before = {drop.key: drop.fingerprint for drop in landed_drops(place)}
    (plain / "_SUCCESS").touch()
    assert {drop.key: drop.fingerprint for drop in landed_drops(place)} == before, "a marker is no part of the drop"
    os.utime(whole / "00000.tar")
    assert "changed" in {drop.key: drop.waiting_for for drop in landed_drops(place)}["whole"]


def test_a_landing_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be listed"):
        landed_drops(LandingPlace(uri=str(tmp_path / "none")))
