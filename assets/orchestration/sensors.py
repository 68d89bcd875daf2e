"""A sensor is split: a pure function from what is there and what is known to the changes, and a thin shell around it."""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

from assets.orchestration.jobs import CONFIGURATION
from assets.orchestration.landing import landing_sensor
from assets.shared.automation import automation_sensor
from assets.shared.partitions import recipe_partitions
from resources.home import HomeResource
from veclip_pipelines.config.recipe import recipe_catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.file_versions import configuration_versions
from veclip_pipelines.stages import RECIPE

AssetPath = tuple[str, ...]


@dataclass(frozen=True)
class ConfigurationChanges:
    """What the sensor asks for: assets to materialise again, and new recipes."""

    assets: tuple[AssetPath, ...]
    new_recipes: tuple[str, ...]


def configuration_changes(
    present: Mapping[AssetPath, str],
    known: Mapping[AssetPath, str | None],
    recipes: list[str],
    partitions: list[str],
) -> ConfigurationChanges:
    """Configuration assets whose files changed since Dagster last saw them, and recipes that have no partition yet."""
    changed = tuple(sorted(path for path, version in present.items() if known.get(path) != version))
    return ConfigurationChanges(changed, tuple(sorted(set(recipes) - set(partitions))))


def known_versions(instance: dg.DagsterInstance, paths: Mapping[AssetPath, str]) -> dict[AssetPath, str | None]:
    """The data version of each configuration asset as Dagster last saw it."""
    known: dict[AssetPath, str | None] = {}
    for path in paths:
        event = instance.get_latest_materialization_event(dg.AssetKey(list(path)))
        materialisation = event.asset_materialization if event else None
        known[path] = (materialisation.tags or {}).get("dagster/data_version") if materialisation else None
    return known


def detect_configuration_changes(instance: dg.DagsterInstance, settings: Settings) -> ConfigurationChanges:
    """Compares the files with what Dagster knows."""
    present = configuration_versions(settings)
    partitions = list(instance.get_dynamic_partitions(RECIPE))
    return configuration_changes(
        present, known_versions(instance, present), recipe_catalogue(settings).names(), partitions
    )


@dg.sensor(
    job_name=CONFIGURATION,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notices edited prompts and engine profiles, and new recipes.",
)
def configuration_sensor(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult:
    settings = home.settings()
    changes = detect_configuration_changes(context.instance, settings)
    versions = configuration_versions(settings)
    requests = [
        dg.RunRequest(
            run_key="/".join([*path, versions[path]]),
            asset_selection=[dg.AssetKey(list(path))],
            job_name=CONFIGURATION,
        )
        for path in changes.assets
    ]
    additions = [recipe_partitions.build_add_request(list(changes.new_recipes))] if changes.new_recipes else []
    return dg.SensorResult(run_requests=requests, dynamic_partitions_requests=additions)


sensors: list[dg.SensorDefinition] = [configuration_sensor, landing_sensor, automation_sensor]
