"""What each asset's partition is made from now, by version.

Comparing this with the provenance table decides what is stale; a materialisation records the same. Engines are named by
engine_id, so that a changed prompt, model or decoding is a changed input.
"""

from dataclasses import dataclass
from typing import Any

from veclip_pipelines.captioning import concept, fusion
from veclip_pipelines.config.model_config import model_config
from veclip_pipelines.config.recipe import Recipe, TextSource, recipe_catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import RegisteredDrop, drop_fingerprint, inspect_drop
from veclip_pipelines.crawl.index import CODE_VERSION as INDEX_VERSION
from veclip_pipelines.crawl.index import Crawl
from veclip_pipelines.crawl.policy import CrawlPolicy, crawl_policy
from veclip_pipelines.engines.identity import EngineSpec, resolve_engine
from veclip_pipelines.engines.nsfw import nsfw_engine
from veclip_pipelines.engines.profiles import EngineProfile, profile_catalogue
from veclip_pipelines.engines.prompts import Purpose
from veclip_pipelines.engines.registry import KINDS
from veclip_pipelines.errors import UsageError, VeclipError
from veclip_pipelines.evaluation import scoring
from veclip_pipelines.evaluation.benchmarks import benchmark_folders, open_benchmark
from veclip_pipelines.mixing.mix import Mix, ResolvedText, resolve_mix
from veclip_pipelines.mixing.training_set import input_versions
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, RAW_CRAWL
from veclip_pipelines.stages import Stage, version_of
from veclip_pipelines.tables.contents import Contents
from veclip_pipelines.tables.provenance import Recorded
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.training.checkpoint import checkpoint_id_of, find_checkpoint


def concept_engine(settings: Settings, profile: str) -> EngineSpec:
    return _engine(settings, profile, "concept")


def fusion_engine(settings: Settings, profile: str) -> EngineSpec:
    return _engine(settings, profile, "fusion")


def _engine(settings: Settings, profile: str, purpose: Purpose) -> EngineSpec:
    version = concept.CODE_VERSION if purpose == "concept" else fusion.CODE_VERSION
    return resolve_engine(settings, profile, purpose, version)


def raw_crawl_inputs(settings: Settings, drop: RegisteredDrop) -> dict[str, str]:
    """The drop as it is now or, if it is pinned, as it was: later changes to its folder are ignored."""
    fingerprint = drop.fingerprint if drop.state == "pinned" else drop_fingerprint(drop.uri)
    return _crawl_inputs(crawl_policy(settings), fingerprint)


def crawl_of(settings: Settings, warehouse: Warehouse, drop: RegisteredDrop) -> Crawl:
    """Everything that indexing a partition's drop depends on. Raises UsageError if its folder is no longer a drop."""
    policy = crawl_policy(settings)
    nsfw = nsfw_engine() if policy.nsfw else ""
    return Crawl(warehouse, drop.crawl_partition, inspect_drop(drop.uri), settings.shards, policy, nsfw)


def _crawl_inputs(policy: CrawlPolicy, fingerprint: str) -> dict[str, str]:
    return {"drop": fingerprint, "code": INDEX_VERSION, **({"nsfw": nsfw_engine()} if policy.nsfw else {})}


def stage_inputs(recorded: Recorded, stage: Stage, partition: str) -> dict[str, str]:
    """The inputs of a stage without an engine, drop or recipe of its own: its code, and what its upstream stages last made.

    Args:
        recorded: of this partition.
    """
    versions = {"code": stage.code_version}
    for upstream in stage.upstream:
        for one in recorded.newest.get((upstream, partition), ()):
            if not one.is_retirement:
                versions["/".join(filter(None, (upstream, partition, one.engine)))] = one.data_version
    return versions


def concept_inputs(contents: Contents, partition: str, engine: EngineSpec) -> dict[str, str]:
    return {
        f"raw_crawl/{partition}": contents.of(RAW_CRAWL, {"crawl_partition": partition})[0],
        "engine": engine.engine_id,
    }


def fused_concepts(settings: Settings, engine: EngineSpec, concept_profile: str) -> EngineSpec | None:
    """The engine whose concept captions a fusion engine fuses; none if it sees the picture itself, or if VeCap is imported."""
    return None if fuses_alone(engine.profile) else concept_engine(settings, concept_profile)


def fuses_alone(profile: EngineProfile) -> bool:
    """Whether a fusion engine needs no concept captions."""
    return profile.is_imported or KINDS[profile.kind].sees


def vecap_inputs(contents: Contents, partition: str, engine: EngineSpec, concept: EngineSpec | None) -> dict[str, str]:
    raw_crawl = {f"raw_crawl/{partition}": contents.of(RAW_CRAWL, {"crawl_partition": partition})[0]}
    if concept is None:
        return {**raw_crawl, "engine": engine.engine_id}
    concept_partition = {"crawl_partition": partition, "engine_id": concept.engine_id}
    return {
        **raw_crawl,
        f"concept_captions/{partition}/{concept.engine_id}": contents.of(CONCEPT_CAPTIONS, concept_partition)[0],
        "engine": engine.engine_id,
    }


@dataclass(frozen=True)
class RecipeInputs:
    """A recipe with its engines and its model resolved, and the versions of all that its training set is made from."""

    recipe: Recipe
    mix: Mix
    config: dict[str, Any]
    versions: dict[str, str]

    @property
    def set_version(self) -> str:
        return version_of(self.versions)

    @property
    def checkpoint_id(self) -> str:
        return checkpoint_id_of(self.recipe, self.config, self.set_version)


def training_set_inputs(
    settings: Settings, warehouse: Warehouse, recipe_name: str, contents: Contents | None = None
) -> RecipeInputs:
    """Raises VeclipError if the recipe cannot be resolved or one of its texts is missing; contents as in input_versions."""
    recipe = recipe_catalogue(settings).load(recipe_name)
    profiles = profile_catalogue(settings)

    def resolved(text: TextSource) -> ResolvedText:
        if text.source == "vecap" and not text.concept_engine and not fuses_alone(profiles.load(text.engine or "")):
            raise UsageError(
                f"recipe {recipe_name!r}: VeCap by {text.engine!r} needs the concept_engine whose captions were fused"
            )
        purpose: Purpose = "fusion" if text.source == "vecap" else "concept"
        engine_id = None if text.engine is None else _engine(settings, text.engine, purpose).engine_id
        return ResolvedText(
            source=text.source,
            probability=text.probability,
            engine_id=engine_id,
            profile=text.engine,
            column=text.column,
            when=text.when,
            shuffled=text.shuffled,
        )

    texts = {name: [resolved(text) for text in part.texts] for name, part in recipe.parts().items()}
    mix = resolve_mix(warehouse, recipe, texts, settings.home)
    config = model_config(settings, recipe.model.config)
    return RecipeInputs(recipe, mix, config, input_versions(warehouse, mix, contents))


def checkpoint_inputs(inputs: RecipeInputs) -> dict[str, str]:
    return {"training_set": inputs.set_version, "checkpoint": inputs.checkpoint_id}


def score_inputs(settings: Settings, warehouse: Warehouse, inputs: RecipeInputs) -> dict[str, str]:
    """Raises VeclipError if the recipe's checkpoint, as it would be trained now, is missing."""
    if find_checkpoint(warehouse, inputs.checkpoint_id) is None:
        raise VeclipError(
            f"recipe {inputs.recipe.name!r} has no checkpoint for its training set as it is now: materialise checkpoints first."
        )
    folders = benchmark_folders(settings.benchmarks, inputs.recipe.benchmarks)
    versions = {f"benchmark/{folder.name}": open_benchmark(folder).sha256(settings.home) for folder in folders}
    return {"checkpoint": inputs.checkpoint_id, "code": scoring.CODE_VERSION, **versions}
