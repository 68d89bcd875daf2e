"""Code versions and content hashes make every user's partitions stale when they change. They change only if results do.

The stored values were written by the version before the second design of the house. If one changes on purpose, change it there,
and say in CHANGELOG.md what becomes stale.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from veclip_pipelines.captioning import concept, fusion
from veclip_pipelines.config.model_config import model_config
from veclip_pipelines.config.recipe import recipe_catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl import duplicates, index
from veclip_pipelines.engines.identity import resolve_engine
from veclip_pipelines.engines.profiles import profile_catalogue
from veclip_pipelines.engines.prompts import prompt_catalogue
from veclip_pipelines.evaluation import scoring
from veclip_pipelines.mixing import training_set
from veclip_pipelines.stages import tables, version_of
from veclip_pipelines.training import checkpoint
from veclip_pipelines.training.checkpoint import checkpoint_id_of

STORED: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "stored" / "versions.json").read_text("utf-8"))


def versions(settings: Settings) -> dict[str, dict[str, str]]:
    """All that is compared, as it is now."""
    profiles, recipes = profile_catalogue(settings), recipe_catalogue(settings)
    prompts = prompt_catalogue(settings)
    modules = (index, duplicates, concept, fusion, training_set, checkpoint, scoring)
    return {
        "code": {module.CODE_VERSION.split(".")[0]: module.CODE_VERSION for module in modules},
        "prompts": {name: prompts.content_hash(name) for name in prompts.names()},
        "profiles": {name: profiles.content_hash(name) for name in profiles.names()},
        "recipes": {name: recipes.content_hash(name) for name in recipes.names()},
        "engines": {name: _engine_id(settings, name) for name in profiles.names()},
        "checkpoints": {
            name: checkpoint_id_of(
                recipes.load(name),
                model_config(settings, recipes.load(name).model.config),
                version_of({"recipe": name, "raw_crawl/p": "0"}),
            )
            for name in recipes.names()
        },
        "columns": {
            name: " ".join(f"{field.name}:{field.type}" for field in spec.schema) for name, spec in tables().items()
        },
    }


def _engine_id(settings: Settings, name: str) -> str:
    """With weights that are always the same in the place of the real ones."""
    profile = profile_catalogue(settings).load(name)
    folder = settings.models / profile.model
    folder.mkdir(parents=True, exist_ok=True)
    (folder / (profile.gguf_file or "model.safetensors")).write_bytes(b"weights")
    version = concept.CODE_VERSION if profile.purpose == "concept" else fusion.CODE_VERSION
    return resolve_engine(settings, name, profile.purpose, version).engine_id


@pytest.mark.parametrize("kind", sorted(STORED))
def test_versions_and_hashes_are_what_they_were(settings: Settings, kind: str) -> None:
    assert versions(settings)[kind] == STORED[kind]
