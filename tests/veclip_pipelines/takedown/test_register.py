"""An opt-out that a later crawl finds takes down what an earlier one has, if the policy says so."""

from __future__ import annotations

from pathlib import Path

from builders import DropEntry, index, numbered_entries, picture, write_drop

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.policy import crawl_policy
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.execution import carry_out, unfinished
from veclip_pipelines.takedown.register import BY, list_takedowns, register_opt_outs

URL = "https://photos.example/cat.png"


def crawl_twice(folder: Path, warehouse: Warehouse) -> None:
    first = [DropEntry("a cat in the sun", picture(7), url=URL), *numbered_entries(2)]
    index(warehouse, write_drop(folder / "first", first), "first")
    refused = DropEntry("a cat in the sun", None, url=URL, status="opted_out", error="X-Robots-Tag: noai")
    other = DropEntry("of nobody", None, url="https://photos.example/new.png", status="opted_out", error="noai")
    index(warehouse, write_drop(folder / "second", [refused, other, *numbered_entries(2, 20)]), "second")


def kept_urls(warehouse: Warehouse) -> list[str]:
    sql = "SELECT url FROM raw_crawl WHERE outcome = 'kept' AND url IS NOT NULL ORDER BY url"
    return [row["url"] for row in read_rows(warehouse, sql, tables=["raw_crawl"])]


def test_an_opt_out_takes_down_what_is_held(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> None:
    crawl_twice(tmp_path, warehouse)
    assert URL in kept_urls(warehouse)
    (takedown,) = register_opt_outs(warehouse, crawl_policy(settings))
    assert (takedown.requested_by, [request.value for request in takedown.requests]) == (BY, [URL])
    assert "second" in takedown.reason
    assert "noai" in takedown.reason
    assert URL not in kept_urls(warehouse)
    carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-1")
    assert unfinished(warehouse) == []
    assert picture(7) not in (tmp_path / "first" / "00000.tar").read_bytes()
    # The next day there is nothing to write down.
    assert register_opt_outs(warehouse, crawl_policy(settings)) == []
    assert len(list_takedowns(warehouse)) == 1


def test_only_by_policy(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> None:
    crawl_twice(tmp_path, warehouse)
    settings.crawl_file.parent.mkdir(parents=True, exist_ok=True)
    settings.crawl_file.write_text("opt_outs_are_takedowns: false\n", "utf-8")
    assert register_opt_outs(warehouse, crawl_policy(settings)) == []
    assert URL in kept_urls(warehouse)
