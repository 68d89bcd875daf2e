"""The sample crawl: it has what it must have, and nothing of a third party is in the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import index
from PIL import Image

from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.demo.sample_crawl import sample_drops, write_sample_benchmark, write_sample_drops
from veclip_pipelines.evaluation.benchmarks import open_benchmark
from veclip_pipelines.media.pictures import decode
from veclip_pipelines.media.shards import read_range
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

pytest.importorskip("skimage")


def test_the_crawl_has_what_a_crawl_has(tmp_path: Path, warehouse: Warehouse) -> None:
    drops = write_sample_drops(tmp_path)
    for folder in drops:
        index(warehouse, inspect_drop(str(folder)), folder.name)
    rows = read_rows(warehouse, "SELECT * FROM raw_crawl", tables=["raw_crawl"])
    kept = [row for row in rows if row["outcome"] == "kept"]
    assert len(drops) == 2
    assert len({row["image_sha256"] for row in kept}) >= 24
    assert {"image/png", "image/jpeg", "image/gif"} == {row["media_type"] for row in kept}
    assert {row["reason"] for row in rows if row["outcome"] == "rejected"} == {
        "truncated_picture", "not_a_picture", "failed_to_download", "repeat",
    }  # fmt: skip
    assert any(row["alt_text"] == "" for row in kept)
    assert any("file_name" in row["flags"] for row in kept)
    assert any("&amp;amp;" in row["alt_text_raw"] and "&amp;" not in row["alt_text"] for row in kept)
    assert [path.name for path in write_sample_drops(tmp_path)] == [folder.name for folder in drops]


def test_colour_gray_and_alpha_are_among_them() -> None:
    import io

    entries = [entry for entries in sample_drops().values() for entry in entries if entry.file and not entry.damage]
    modes = {Image.open(io.BytesIO(entry.picture())).mode for entry in entries}
    assert {"RGB", "L", "RGBA", "P"} <= modes


def test_the_benchmark_has_each_captioned_picture_once(tmp_path: Path) -> None:
    benchmark = open_benchmark(write_sample_benchmark(tmp_path))
    assert len(benchmark.pictures) == len(set(benchmark.pictures)) >= 24
    for picture in benchmark.pictures:
        decode(read_range(picture), max_side=32)
