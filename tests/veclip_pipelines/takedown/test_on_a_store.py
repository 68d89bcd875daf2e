"""On an object store a picture is erased by swapping the object for one of the same size."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from builders import DropEntry, index, numbered_entries, picture, write_drop

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.execution import carry_out
from veclip_pipelines.takedown.register import register
from veclip_pipelines.takedown.requests import Request
from veclip_pipelines.takedown.verification import verify

URL = "https://photos.example/cat.png"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """A drop on fsspec's store in memory."""
    entries = [
        *numbered_entries(2),
        DropEntry("the cat of Ms. Example in her garden", picture(7), url=URL),
        *numbered_entries(2, 4),
    ]
    folder = write_drop(tmp_path / "drop", entries)
    filesystem = fsspec.filesystem("memory")
    filesystem.put(str(folder), "/takedown-drop", recursive=True)
    yield "memory://takedown-drop"
    filesystem.rm("/takedown-drop", recursive=True)


def test_the_object_is_swapped_for_one_of_its_size(store: str, settings: Settings, warehouse: Warehouse) -> None:
    index(warehouse, inspect_drop(store), "crawl-1")
    filesystem = fsspec.filesystem("memory")
    before = {info["name"]: info["size"] for info in filesystem.ls("/takedown-drop", detail=True)}
    places = read_rows(
        warehouse,
        "SELECT sample_id, image_sha256, image_offset, url FROM raw_crawl ORDER BY sample_id",
        tables=["raw_crawl"],
    )
    takedown, _ = register(warehouse, [Request("url", URL)], by="someone", reason="asked", keep_days=0)
    carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-1")
    assert {info["name"]: info["size"] for info in filesystem.ls("/takedown-drop", detail=True)} == before
    data = filesystem.cat_file("/takedown-drop/00000.tar")
    assert picture(7) not in data
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        contents = [content.read() for member in tar if (content := tar.extractfile(member)) is not None]
    assert sum(not any(content) for content in contents) == 3
    # All others are read from where they were.
    for row in places:
        if row["url"] != URL:
            at = row["image_offset"]
            assert data[at : at + 4] == b"\x89PNG"
    sidecar = pq.read_table(io.BytesIO(filesystem.cat_file("/takedown-drop/00000.parquet"))).to_pylist()
    assert [row["url"] for row in sidecar].count(URL) == 0
    erased = read_rows(
        warehouse, "SELECT step, state FROM erasures WHERE step IN ('shard', 'source')", tables=["erasures"]
    )
    assert {(row["step"], row["state"]) for row in erased} == {("shard", "removed"), ("source", "removed")}
    assert verify(warehouse, settings).is_clean
