"""What a backfill will take, by the rates measured so far."""

from __future__ import annotations

import pytest

from veclip_pipelines.planning.estimates import estimate, measured_rate
from veclip_pipelines.tables.provenance import Provenance, record
from veclip_pipelines.tables.warehouse import Warehouse


def note(
    warehouse: Warehouse, asset: str, partition: str, version: str, rows: int, kept: int, seconds: float, run: str
) -> None:
    record(
        warehouse,
        Provenance(asset, partition, run, {"x": version}, version, 1, (), rows, kept, rows - kept, seconds, "1", "me"),
    )


def test_nothing_is_known_before_anything_has_run(warehouse: Warehouse) -> None:
    assert measured_rate(warehouse, "vecap") is None
    (item,) = estimate(warehouse, ["vecap"], {"vecap": ["a"]}, {"a": 10})
    assert (item.partitions, item.rows, item.hours, item.gigabytes) == (1, 10, None, None)


def test_rates_are_of_work_that_was_done(warehouse: Warehouse) -> None:
    note(warehouse, "raw_crawl", "a", "v1", 100, 80, 10.0, "r1")
    note(warehouse, "raw_crawl", "a", "v1", 100, 80, 0.1, "r2")  # changed nothing: says nothing of the rate
    note(warehouse, "raw_crawl", "b", "v2", 100, 100, 10.0, "r3")
    note(warehouse, "vecap", "a", "v3", 80, 80, 40.0, "r4")
    rate = measured_rate(warehouse, "raw_crawl")
    assert rate is not None
    assert (rate.rows_per_second, rate.kept_share, rate.materialisations) == (10.0, 0.9, 2)
    todo = {"raw_crawl": ["c", "d"], "vecap": ["c", "d"]}
    raw, fused = estimate(warehouse, ["raw_crawl", "concept_captions", "vecap"], todo, {"c": 1000, "d": 2000})
    assert (raw.rows, fused.rows) == (3000, 2700), "what is downstream sees the kept rows"
    assert raw.hours == pytest.approx(300 / 3600)
    assert fused.hours == pytest.approx(1350 / 3600)


def test_a_drop_that_keeps_no_count(warehouse: Warehouse) -> None:
    note(warehouse, "raw_crawl", "a", "v1", 100, 80, 10.0, "r1")
    (item,) = estimate(warehouse, ["raw_crawl"], {"raw_crawl": ["c"]}, {"c": None})
    assert (item.rows, item.hours) == (None, None)
