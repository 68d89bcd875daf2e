"""The provenance table decides what is stale."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any, Literal

import pytest

from veclip_pipelines.tables.provenance import Provenance, is_current, latest, materialisations, record
from veclip_pipelines.tables.query import Asker, connect, read_rows
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


ASSETS, PARTITIONS, ENGINES = (
    ("raw_crawl", "vecap", "training_sets", "duplicates"),
    ("p", "q", "r"),
    (None, "", "e1", "e2"),
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Warehouse, list[dict[str, Any]]]:
    """Some sixty materialisations of several assets, in as many files, and all rows as the table has them, the newest first."""
    warehouse, draw = Warehouse.at(str(tmp_path_factory.mktemp("warehouse"))), random.Random(7)
    for number in range(60):
        engine = draw.choice(ENGINES)
        inputs = {"raw": f"v{number}"} | ({} if engine is None else {"engine": engine})
        guards = draw.choice([None, json.dumps({"rows": number, "faults": {}})])
        asset, partition = draw.choice(ASSETS), draw.choice(PARTITIONS)
        record(
            warehouse, replace(MADE, asset=asset, partition=partition, run_id=f"{number}", inputs=inputs, guards=guards)
        )
    rows = read_rows(warehouse, "SELECT * FROM provenance", tables=["provenance"])
    return warehouse, sorted(rows, key=lambda row: row["recorded_at"], reverse=True)


@pytest.mark.parametrize("newest", [None, "partition", "engine"])
@pytest.mark.parametrize("assets", [None, [], ["vecap"], ["raw_crawl", "training_sets"]])
@pytest.mark.parametrize("engine", [None, "e1"])
def test_what_is_newest_is_what_plain_python_says(
    told: tuple[Warehouse, list[dict[str, Any]]],
    assets: list[str] | None,
    engine: str | None,
    newest: Literal["partition", "engine"] | None,
) -> None:
    warehouse, rows = told
    for partitions, but, guarded, limit in (
        (None, None, False, None), (["p", "r"], None, False, None), (None, "q", True, None), (["p"], None, False, 1),
    ):  # fmt: skip
        expected, seen = [], set()
        for row in rows:
            of = json.loads(row["inputs"]).get("engine")
            wanted = (
                (assets is None or row["asset"] in assets)
                and (partitions is None or row["partition"] in partitions)
                and row["partition"] != but
                and (engine is None or of == engine)
                and (not guarded or row["guards"] is not None)
            )
            key = (row["asset"], row["partition"], of if newest == "engine" else "")
            if wanted and (newest is None or key not in seen):
                seen.add(key)
                expected.append(row["run_id"])
        with connect(warehouse, ["provenance"]) as connection:
            for source in (warehouse, Asker(connection)):
                found = materialisations(
                    source, assets=assets, partitions=partitions, but_partition=but, engine=engine, with_guards=guarded,
                    newest=newest, limit=limit,
                )  # fmt: skip
                assert [one.run_id for one in found] == expected[:limit]
