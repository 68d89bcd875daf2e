"""The configuration sensor: a pure function, and the shell around it on a real instance."""

from __future__ import annotations

import dagster as dg
import yaml

from assets.orchestration.sensors import ConfigurationChanges, configuration_changes, configuration_sensor
from resources.home import HomeResource
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.file_versions import configuration_versions
from veclip_pipelines.engines.prompts import prompt_catalogue

A, B = ("prompts", "a"), ("prompts", "b")


def test_only_what_changed_is_asked_for() -> None:
    assert configuration_changes({A: "1", B: "1"}, {A: "1", B: "1"}, ["x"], ["x"]) == ConfigurationChanges((), ())
    assert configuration_changes({A: "2", B: "1"}, {A: "1", B: "1"}, ["x", "y"], ["x"]) == ConfigurationChanges(
        (A,), ("y",)
    )
    assert configuration_changes({A: "1"}, {}, [], ["gone"]) == ConfigurationChanges((A,), ())


def test_an_edited_prompt_asks_for_its_asset_alone(settings: Settings) -> None:
    before = configuration_versions(settings)
    prompt = yaml.safe_load(prompt_catalogue(settings).paths()["fusion"].read_text())
    (settings.home / "prompts").mkdir(parents=True)
    (settings.home / "prompts" / "fusion.yaml").write_text(yaml.safe_dump({**prompt, "version": 2}))
    after = configuration_versions(settings)
    assert [path for path in before if before[path] != after[path]] == [("fusion_prompts",)]


def test_the_sensor_asks_for_runs_and_partitions(settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"home": HomeResource()})
        result = configuration_sensor(context)
    assert isinstance(result, dg.SensorResult)
    assert len(result.run_requests or []) == 4
    assert result.dynamic_partitions_requests[0].partition_keys == ["alttext", "mixed", "vecap"]
