"""What a person sees of the graph before anything has run."""

from __future__ import annotations

import dagster as dg
import pytest

from assets.orchestration.checks import asset_checks
from veclip_pipelines.definitions import build_defs, defs
from veclip_pipelines.schemas.crawl_schemas import TABLES

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
    assert {sensor.name for sensor in defs.sensors or []} == {"configuration_sensor", "landing_sensor", "carry_on"}


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
    assert [column.name for column in schema.columns] == TABLES[name].schema.names
    assert all(column.description for column in schema.columns)
    for column, sources in lineage.deps_by_column.items():
        assert column in TABLES[name].schema.names
        for source in sources:
            assert source.column_name in TABLES[source.asset_key.to_user_string()].schema.names
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
