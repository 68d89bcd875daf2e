"""A content that no materialisation made is reported so that Dagster's stale marks stay right."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView, TemporalContext
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus

from assets.shared.events import report_content


@dg.asset(code_version="1")
def crawl() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(data_version=dg.DataVersion("1"))


@dg.asset(deps=[crawl], code_version="1")
def captions() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(data_version=dg.DataVersion("a"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        dg.materialize([crawl, captions], instance=made)
        yield made


def stale(instance: dg.DagsterInstance) -> list[str]:
    graph = dg.Definitions(assets=[crawl, captions]).resolve_asset_graph()
    now = TemporalContext(effective_dt=datetime.now(UTC), last_event_id=None)
    view = AssetGraphView(temporal_context=now, instance=instance, asset_graph=graph)
    resolver = CachingStaleStatusResolver(instance, graph, view)
    return [name for name in ("crawl", "captions") if resolver.get_status(dg.AssetKey(name)) == StaleStatus.STALE]


def report(instance: dg.DagsterInstance, asset: str, version: str, renewed: tuple[str, ...] = ()) -> None:
    report_content(
        instance, asset, None, version, renewed=renewed, description="without a row", metadata={"rows_kept": 1}
    )


def events(instance: dg.DagsterInstance, asset: str) -> int:
    return len(instance.fetch_materializations(dg.AssetKey(asset), limit=10).records)


def test_what_hangs_on_a_changed_content_is_stale(instance: dg.DagsterInstance) -> None:
    assert stale(instance) == []
    report(instance, "crawl", "2")
    assert stale(instance) == ["captions"]


def test_what_is_in_line_with_it_is_not(instance: dg.DagsterInstance) -> None:
    report(instance, "crawl", "2")
    report(instance, "captions", "b", renewed=("crawl",))
    assert stale(instance) == []


def test_what_was_stale_stays_it(instance: dg.DagsterInstance) -> None:
    report(instance, "crawl", "2")
    report(instance, "captions", "b")
    assert stale(instance) == ["captions"]


def test_what_dagster_knows_is_not_told_again(instance: dg.DagsterInstance) -> None:
    report(instance, "crawl", "1")
    assert events(instance, "crawl") == 1
    for _ in range(2):
        report(instance, "crawl", "2")
        report(instance, "captions", "a", renewed=("crawl",))
    assert (events(instance, "crawl"), events(instance, "captions")) == (2, 2)
