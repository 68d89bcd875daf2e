"""Captions that came with the drop, as captions of an imported engine."""

from __future__ import annotations

from typing import Any

import pytest

from veclip_pipelines.captioning.imported import import_partition
from veclip_pipelines.compute.fanout import HereRunner
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.identity import EngineSpec, resolve_engine
from veclip_pipelines.errors import UsageError
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, RAW_CRAWL, VECAP
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.commit import replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse


@pytest.fixture
def crawl(warehouse: Warehouse) -> Warehouse:
    """Two samples of one picture with different captions, one of another picture, one without a caption, one rejected."""
    samples = [
        ("s2", "x", "second"),
        ("s1", "x", "first"),
        ("s3", "y", "  of  y "),
        ("s4", "z", None),
        ("s5", "w", "rejected"),
    ]
    rows: list[dict[str, object]] = [
        {
            "sample_id": sample_id, "image_sha256": sha256, "source_key": sample_id, "flags": [],
            "captions": [{"name": "other", "text": "no"}, *([{"name": "re_caption", "text": text}] if text else [])],
            "outcome": "rejected" if text == "rejected" else "kept",
        }
        for sample_id, sha256, text in samples
    ]  # fmt: skip
    partition = {"crawl_partition": "p"}
    file = write_file(warehouse, RAW_CRAWL, partition, "f", table_of(RAW_CRAWL, rows))
    replace_partition(warehouse, RAW_CRAWL, partition, [file], expected=frozenset(), properties={})
    return warehouse


def spec(settings: Settings, name: str, purpose: Any) -> EngineSpec:
    return resolve_engine(settings, name, purpose, "code.1")


def texts(warehouse: Warehouse, table: TableSpec) -> dict[str, tuple[str | None, str | None]]:
    key = table.keys[0]
    rows = read_rows(warehouse, f"SELECT * FROM {table.name}", tables=[table.name])
    return {row[key]: (row["text"], row["reason"]) for row in rows}


def test_a_picture_has_the_caption_of_its_smallest_sample(settings: Settings, crawl: Warehouse) -> None:
    engine = spec(settings, "imported-re-caption", "concept")
    result = import_partition(crawl, CONCEPT_CAPTIONS, engine, "p", HereRunner(), properties={})
    assert (result.rows, result.changed) == (3, True)
    assert texts(crawl, CONCEPT_CAPTIONS) == {
        "x": ("first", None),
        "y": ("of y", None),
        "z": (None, "no_imported_caption"),
    }
    assert import_partition(crawl, CONCEPT_CAPTIONS, engine, "p", HereRunner(), properties={}).reused == 2


def test_each_sample_has_its_own_as_vecap(settings: Settings, crawl: Warehouse) -> None:
    from dataclasses import replace

    engine = spec(settings, "imported-capsfusion", "fusion")
    engine = replace(engine, profile=engine.profile.model_copy(update={"caption_column": "re_caption"}))
    import_partition(crawl, VECAP, engine, "p", HereRunner(), properties={})
    assert texts(crawl, VECAP) == {
        "s1": ("first", None), "s2": ("second", None), "s3": ("of y", None), "s4": (None, "no_imported_caption"),
    }  # fmt: skip


def test_an_imported_engine_has_an_id_and_no_model(settings: Settings) -> None:
    one, other = spec(settings, "imported-re-caption", "concept"), spec(settings, "imported-top-caption", "concept")
    assert one.engine_id != other.engine_id
    assert one.weights_sha256 == ""


def test_a_profile_names_its_column(settings: Settings) -> None:
    folder = settings.home / "profiles"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text("{name: bad, purpose: concept, kind: imported, description: x, model: y}", "utf-8")
    with pytest.raises(UsageError, match="caption_column"):
        spec(settings, "bad", "concept")
