"""The provenance table decides what is stale."""

from __future__ import annotations

from dataclasses import replace

from veclip_pipelines.tables.provenance import Provenance, is_current, latest, record
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

MADE = Provenance("vecap", "p", "run1", {"engine": "e1", "raw": "v1"}, "d1", 3, (), 5, 4, 1, 0.5, "1", "me@here")


def test_current_means_the_same_inputs(warehouse: Warehouse) -> None:
    assert not is_current(warehouse, "vecap", "p", MADE.inputs)
    record(warehouse, MADE)
    assert is_current(warehouse, "vecap", "p", {"raw": "v1", "engine": "e1"})
    assert not is_current(warehouse, "vecap", "p", {"raw": "v2", "engine": "e1"})
    assert not is_current(warehouse, "vecap", "q", MADE.inputs)
    assert not is_current(warehouse, "raw_crawl", "p", MADE.inputs)


def test_the_newest_materialisation_counts(warehouse: Warehouse) -> None:
    record(warehouse, MADE)
    record(warehouse, replace(MADE, run_id="run2", inputs={**MADE.inputs, "raw": "v2"}))
    assert not is_current(warehouse, "vecap", "p", MADE.inputs)
    row = latest(warehouse, "vecap", "p")
    assert row is not None
    assert (row.run_id, row.rows_in, row.launched_by) == ("run2", 5, "me@here")


def test_several_engines_captions_are_current_side_by_side(warehouse: Warehouse) -> None:
    record(warehouse, MADE)
    record(warehouse, replace(MADE, run_id="run2", inputs={"engine": "e2", "raw": "v1"}))
    assert is_current(warehouse, "vecap", "p", MADE.inputs)
    assert is_current(warehouse, "vecap", "p", {"engine": "e2", "raw": "v1"})
    assert not is_current(warehouse, "vecap", "p", {"engine": "e3", "raw": "v1"})
    # A partition that was retired has nobody's captions any more.
    record(warehouse, replace(MADE, run_id="run3", inputs={"drop": "", "engine": ""}))
    assert not is_current(warehouse, "vecap", "p", MADE.inputs)


def test_one_run_records_each_asset_once(warehouse: Warehouse) -> None:
    for made in (MADE, MADE, replace(MADE, asset="raw_crawl")):
        record(warehouse, made)
    assert len(read_rows(warehouse, "SELECT * FROM provenance", tables=["provenance"])) == 2
