"""Dagster's runs that nothing depends on are recorded, then deleted; the next prune finishes one that was killed."""

import json
from collections.abc import Iterator

import dagster as dg
import pytest

from assets.orchestration.pruning import _delete_runs, prunable_runs
from veclip_pipelines.pruning.files import Retention
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

ALL = Retention(runs_days=0)
WORDS = {"crawl": "1", "captions": "a"}


@dg.asset(code_version="1")
def crawl() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(data_version=dg.DataVersion(WORDS["crawl"]))


@dg.asset(deps=[crawl], code_version="1")
def captions() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(data_version=dg.DataVersion(WORDS["captions"]))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def run(instance: dg.DagsterInstance, *names: str) -> str:
    selection = dg.AssetSelection.assets(*names)
    tags = {"veclip/launched_by": "someone"}
    return dg.materialize([crawl, captions], instance=instance, selection=selection, tags=tags).run_id


def prunable(instance: dg.DagsterInstance) -> list[str]:
    return [record.dagster_run.run_id for record in prunable_runs(instance, ALL)]


def test_the_newest_of_each_asset_and_what_it_was_made_from_stay(instance: dg.DagsterInstance) -> None:
    first = run(instance, "crawl", "captions")
    old = run(instance, "crawl")
    pointed = run(instance, "crawl")
    newest = run(instance, "captions")
    assert prunable(instance) == [first, old]
    again = run(instance, "crawl")
    # The captions were made from the crawl of the run before: without it they would be marked stale.
    assert prunable(instance) == [first, old]
    assert {pointed, newest, again}.isdisjoint(prunable(instance))
    assert prunable_runs(instance, Retention(runs_days=1)) == []


def test_a_run_is_written_down_before_it_goes(
    instance: dg.DagsterInstance, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(instance, "crawl", "captions")
    run(instance, "crawl", "captions")
    records = prunable_runs(instance, ALL)
    assert [record.dagster_run.run_id for record in records] == [first]

    def killed(run_id: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(instance, "delete_run", killed)
        with pytest.raises(KeyboardInterrupt):
            _delete_runs(instance, warehouse, records, "pruning-1")
    assert instance.get_run_by_id(first) is not None
    _delete_runs(instance, warehouse, prunable_runs(instance, ALL), "pruning-2")
    assert instance.get_run_by_id(first) is None
    (row,) = read_rows(warehouse, "SELECT * FROM runs", tables=["runs"])
    assert (row["run_id"], row["status"], row["launched_by"]) == (first, "SUCCESS", "someone")
    assert row["materialised"] == ["captions/all@a", "crawl/all@1"]
    assert set(json.loads(row["steps"])) == {"crawl", "captions"}
    assert prunable(instance) == []
    keys = [key.to_user_string() for key in instance.all_asset_keys()]
    assert sorted(keys) == ["captions", "crawl"]
