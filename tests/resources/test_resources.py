"""The resources: each returns a plain object, and says what is wrong."""

from __future__ import annotations

import pytest

from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.duckdb import DuckDBResource
from resources.engines import EnginesResource
from resources.home import HomeResource
from resources.mlflow import MlflowResource
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import UsageError, VeclipError


def double(number: int) -> int:
    return 2 * number


def test_defaults_come_from_the_environment_when_asked(settings: Settings) -> None:
    assert HomeResource().settings() == settings
    assert DeltaLakeResource(home=HomeResource()).warehouse().root == settings.warehouse
    assert MlflowResource(home=HomeResource()).tracking().tracking_uri == settings.mlflow_tracking_uri
    assert DeltaLakeResource(
        home=HomeResource(), root="s3://bucket/w", storage_options={"a": "b"}
    ).warehouse().storage_options == {"a": "b"}
    assert not DeltaLakeResource(home=HomeResource(), root="s3://bucket/w").warehouse().is_local
    assert (
        MlflowResource(home=HomeResource(), tracking_uri="http://mlflow:5000").tracking().tracking_uri
        == "http://mlflow:5000"
    )


def test_duckdb_has_the_tables(settings: Settings) -> None:
    with DuckDBResource(delta_lake=DeltaLakeResource(home=HomeResource())).connection() as connection:
        assert connection.execute("SELECT count(*) FROM raw_crawl").fetchone() == (0,)


def test_engines_name_what_is_wrong(settings: Settings) -> None:
    with pytest.raises(UsageError, match="no profile named 'x'"):
        EnginesResource(home=HomeResource()).resolve("x", "concept", "1")


def test_dask_says_what_is_wrong(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.dask_cluster._CONNECT_SECONDS", 1)
    with (
        pytest.raises(UsageError, match="needs the scheduler's address"),
        DaskClusterResource(home=HomeResource(), mode="address").runner("run"),
    ):
        pass
    unreachable = DaskClusterResource(home=HomeResource(), mode="address", address="tcp://127.0.0.1:9")
    with pytest.raises(VeclipError, match="does not answer"), unreachable.runner("run"):
        pass
    with (
        pytest.raises(UsageError, match=r"veclip-pipelines\[gpu\]"),
        DaskClusterResource(home=HomeResource(), mode="local_cuda").runner("run"),
    ):
        pass


@pytest.mark.slow
def test_a_cluster_of_the_steps_own(settings: Settings) -> None:
    with DaskClusterResource(home=HomeResource(), mode="local", workers=1).runner("run-7") as runner:
        assert sorted(runner.run(double, [1, 2, 3], label="test")) == [2, 4, 6]
        assert runner.run_id == "run-7"
