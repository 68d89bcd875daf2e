"""Prompts, engine profiles and recipes as assets: an edit gives a new data version and marks what it affects as stale."""

import dagster as dg

from assets.shared.materialisation import OWNERS, Metadata
from assets.shared.partitions import recipe_partitions
from resources.home import HomeResource
from veclip_pipelines.config.recipe import recipe_catalogue
from veclip_pipelines.engines.file_versions import PURPOSES, combined, profile_hashes, prompt_hashes
from veclip_pipelines.engines.profiles import profile_catalogue
from veclip_pipelines.engines.prompts import Purpose, prompt_catalogue

GROUP = "configuration"
_PAGE = 900


def _prompts_asset(purpose: Purpose) -> dg.AssetsDefinition:
    @dg.asset(
        key=f"{purpose}_prompts",
        group_name=GROUP,
        kinds={"yaml"},
        owners=OWNERS,
        code_version="1",
        description=f"The prompt files for {purpose} captions. An edit marks the captions made with them as stale.",
    )
    def prompts(home: HomeResource) -> dg.MaterializeResult[None]:
        settings = home.settings()
        hashes = prompt_hashes(settings, purpose)
        catalogue = prompt_catalogue(settings)
        texts = {name: f"```yaml\n{catalogue.paths()[name].read_text('utf-8')[:_PAGE]}\n```" for name in hashes}
        return _result(hashes, {f"prompt {name}": dg.MetadataValue.md(text) for name, text in texts.items()})

    return prompts


def _profiles_asset(purpose: Purpose) -> dg.AssetsDefinition:
    @dg.asset(
        key=f"{purpose}_profiles",
        group_name=GROUP,
        kinds={"yaml"},
        owners=OWNERS,
        code_version="1",
        description=f"The engine profiles for {purpose} captions: model, prompt and decoding of each.",
    )
    def engine_profiles(home: HomeResource) -> dg.MaterializeResult[None]:
        settings = home.settings()
        hashes = profile_hashes(settings, purpose)
        catalogue = profile_catalogue(settings)
        rows = ["| profile | engine | model | prompt |", "| --- | --- | --- | --- |"]
        for name in hashes:
            profile = catalogue.load(name)
            rows.append(f"| {name} | {profile.kind} | {profile.model} | {profile.prompt or '-'} |")
        return _result(hashes, {"profiles": dg.MetadataValue.md("\n".join(rows))})

    return engine_profiles


@dg.asset(
    partitions_def=recipe_partitions,
    group_name=GROUP,
    kinds={"yaml"},
    owners=OWNERS,
    code_version="1",
    description="The recipe files, one partition each: which texts a training set mixes, and how CLIP is trained on it.",
)
def recipes(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult[None]:
    catalogue = recipe_catalogue(home.settings())
    name = context.partition_key
    text = catalogue.paths()[name].read_text("utf-8") if name in catalogue.paths() else ""
    return _result(
        {name: catalogue.content_hash(name)}, {"recipe": dg.MetadataValue.md(f"```yaml\n{text[:_PAGE]}\n```")}
    )


def _result(hashes: dict[str, str], metadata: Metadata) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(
        metadata={"files": len(hashes), "versions": dg.MetadataValue.json(hashes), **metadata},
        data_version=dg.DataVersion(combined(hashes)),
    )


configuration_assets: list[dg.AssetsDefinition] = [
    *(_prompts_asset(purpose) for purpose in PURPOSES),
    *(_profiles_asset(purpose) for purpose in PURPOSES),
    recipes,
]
