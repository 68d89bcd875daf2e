"""What a person sees of the graph before anything has run."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from assets.orchestration.checks import asset_checks
from resources.delta_lake import DeltaLakeResource
from resources.duckdb import DuckDBResource
from resources.home import HomeResource
from resources.mlflow import MlflowResource
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.definitions import build_defs, defs
from veclip_pipelines.errors import UsageError
from veclip_pipelines.stages import tables

SIX = ["raw_crawl", "concept_captions", "vecap", "training_sets", "checkpoints", "benchmark_scores"]


@pytest.fixture(scope="module")
def graph() -> dg.AssetsDefinition:
    return defs.resolve_asset_graph()  # type: ignore[no-any-return]


def test_definitions_load_and_validate() -> None:
    dg.Definitions.validate_loadable(build_defs())
    assert {job.name for job in defs.jobs or []} == {
        "register_crawl_drop", "roll_back_crawl_partition", "retire_crawl_partition", "index_crawl_drop", "find_duplicates",
        "scoreboard_page", "experiment", "take_down", "finish_takedowns", "audit_warehouse",
        "prune",
        "configuration", "captions", "models",
    }  # fmt: skip
    assert {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()} == {
        *SIX, "duplicates", "scoreboard", "audit", "experiment_data", "experiment_report", "recipes",
        "concept_prompts", "concept_profiles", "fusion_prompts", "fusion_profiles",
    }  # fmt: skip
    assert {schedule.name for schedule in defs.schedules or []} == {
        "finish_takedowns_daily", "audit_daily", "prune_weekly",
    }  # fmt: skip
    assert {sensor.name for sensor in defs.sensors or []} == {"configuration_sensor", "landing_sensor", "carry_on"}


class OtherHome(HomeResource):
    """A home that the environment does not name."""

    place: str

    def settings(self) -> Settings:
        return Settings.from_env({"VECLIP_HOME": self.place})


def test_another_home_is_that_of_all_resources(settings: Settings, tmp_path: Path) -> None:
    assert settings.home != tmp_path / "other"
    other = build_defs(home=OtherHome(place=str(tmp_path / "other"))).resources or {}
    roots = {other["delta_lake"].warehouse().root, other["duckdb"].delta_lake.warehouse().root}
    assert roots == {str(tmp_path / "other" / "warehouse")}
    assert {other[name].home.settings().home for name in ("delta_lake", "dask", "engines", "mlflow")} == {
        tmp_path / "other"
    }
    assert other["mlflow"].tracking().tracking_uri == f"sqlite:///{tmp_path / 'other' / 'mlflow' / 'mlflow.db'}"


def test_a_step_sees_the_other_home(settings: Settings, tmp_path: Path) -> None:
    @dg.asset
    def seen(home: HomeResource, delta_lake: DeltaLakeResource, duckdb: DuckDBResource) -> set[str]:
        return {home.settings().warehouse, delta_lake.warehouse().root, duckdb.delta_lake.warehouse().root}

    resources = build_defs(home=OtherHome(place=str(tmp_path / "other"))).resources
    done = dg.materialize([seen], resources=resources, instance=dg.DagsterInstance.ephemeral())
    assert done.output_for_node("seen") == {str(tmp_path / "other" / "warehouse")}


def test_another_warehouse_is_that_of_duckdb_too() -> None:
    bucket = DeltaLakeResource(home=HomeResource(), root="s3://bucket/w")
    resources = build_defs(delta_lake=bucket).resources or {}
    assert resources["duckdb"].delta_lake.warehouse().root == "s3://bucket/w"


def test_a_resource_brings_its_home_to_all_others(tmp_path: Path) -> None:
    other = OtherHome(place=str(tmp_path / "other"))
    resources = build_defs(mlflow=MlflowResource(home=other)).resources or {}
    assert resources["duckdb"].delta_lake.warehouse().root == str(tmp_path / "other" / "warehouse")
    lake = DeltaLakeResource(home=other, root=str(tmp_path / "lake"))
    resources = build_defs(duckdb=DuckDBResource(delta_lake=lake)).resources or {}
    assert resources["delta_lake"].warehouse().root == str(tmp_path / "lake")
    assert resources["mlflow"].home.settings().home == tmp_path / "other"


def test_two_homes_and_two_warehouses_are_refused(tmp_path: Path) -> None:
    home, other = HomeResource(), OtherHome(place=str(tmp_path / "other"))
    with pytest.raises(UsageError, match="mlflow would use another home"):
        build_defs(home=home, mlflow=MlflowResource(home=other))
    with pytest.raises(UsageError, match="duckdb would use another"):
        build_defs(
            delta_lake=DeltaLakeResource(home=home, root="/a"),
            duckdb=DuckDBResource(delta_lake=DeltaLakeResource(home=home, root="/b")),
        )
    build_defs(home=home, mlflow=MlflowResource(home=HomeResource()))


def test_a_resource_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="delta_lakes"):
        build_defs(delta_lakes=DeltaLakeResource(home=HomeResource()))  # type: ignore[call-arg]


@pytest.mark.parametrize("name", SIX)
def test_each_asset_tells_all_about_itself(graph, name: str) -> None:  # type: ignore[no-untyped-def]
    node = graph.get(dg.AssetKey(name))
    assert node.description
    assert node.group_name != "default"
    assert node.kinds
    assert node.owners
    assert node.code_version
    assert node.partitions_def is not None
    schema, lineage = node.metadata["dagster/column_schema"], node.metadata["dagster/column_lineage"]
    assert [column.name for column in schema.columns] == tables()[name].schema.names
    assert all(column.description for column in schema.columns)
    for column, sources in lineage.deps_by_column.items():
        assert column in tables()[name].schema.names
        for source in sources:
            assert source.column_name in tables()[source.asset_key.to_user_string()].schema.names
            assert source.asset_key in graph.get_all_asset_keys()


def test_every_column_lineage_follows_the_graph(graph) -> None:  # type: ignore[no-untyped-def]
    for name in SIX:
        upstream = graph.get_ancestor_asset_keys(dg.AssetKey(name))
        for sources in graph.get(dg.AssetKey(name)).metadata["dagster/column_lineage"].deps_by_column.values():
            assert {source.asset_key for source in sources} <= set(upstream)


def test_checks_are_partitioned_and_blocking() -> None:
    specs = [spec for checks in asset_checks for spec in checks.check_specs]
    names = {(spec.asset_key.to_user_string(), spec.name) for spec in specs}
    for asset in ("raw_crawl", "concept_captions", "vecap", "training_sets"):
        assert (asset, "rows_in_equal_kept_plus_rejected") in names
        assert (asset, "schema") in names
    assert ("vecap", "no_file_name_as_vecap") in names
    partitioned = [spec for spec in specs if spec.asset_key.to_user_string() != "duplicates"]
    assert all(spec.partitions_def and spec.description for spec in partitioned)
    # A rate that moved wants a person's eye and does not make the captions unusable.
    assert {spec.name for spec in partitioned if not spec.blocking} == {"guard_rates_in_band", "no_benchmark_leak"}


def test_engine_profiles_are_chosen_by_typed_config_with_defaults(graph) -> None:  # type: ignore[no-untyped-def]
    captions = defs.resolve_job_def("captions")
    schema = captions.run_config_schema.config_type
    assert schema is not None
    for asset, field, variable in (
        ("concept_captions", "engine_profile", "VECLIP_CONCEPT_ENGINE"),
        ("vecap", "engine_profile", "VECLIP_FUSION_ENGINE"),
        ("vecap", "concept_profile", "VECLIP_CONCEPT_ENGINE"),
    ):
        config = captions.get_node_named(asset).definition.config_schema.as_field().config_type.fields[field]
        assert config.default_value == "", "the installation's own, which the environment names"
        assert variable in config.description


def test_steps_that_do_not_train_do_not_import_torch() -> None:
    import subprocess
    import sys

    code = "import sys, veclip_pipelines.definitions; print({'torch', 'transformers', 'mlflow', 'pandas'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )
