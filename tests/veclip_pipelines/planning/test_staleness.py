"""What is stale is decided by the versions of the inputs; for captions, by those of the engines that made them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from lineage_story import tell, tell_provenance

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.planning.staleness import Stale, Staleness
from veclip_pipelines.stages import RECIPE, names_of
from veclip_pipelines.tables.warehouse import Warehouse


def write_recipe(settings: Settings, name: str, texts: list[dict[str, object]]) -> None:
    folder = settings.home / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "description": "of a test", "texts": texts}))


def test_nothing_was_made(settings: Settings, warehouse: Warehouse) -> None:
    assert Staleness(settings, warehouse).of_what_was_made() == []


def test_what_was_made_of_other_versions(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> None:
    tell(tmp_path, settings, warehouse)
    tell_provenance(warehouse)
    write_recipe(settings, "r", [{"source": "alt_text", "probability": 1.0}])
    found = Staleness(settings, warehouse).of_what_was_made()
    # The captions' profiles are gone, so nobody could make them anew: they are left out. The recipe mixes something else now.
    assert found == [Stale("r", names_of(RECIPE))]


@pytest.mark.parametrize("changing", [(), ("vecap",)])
def test_a_recipe_of_captions_that_came_with_the_drop(
    settings: Settings, warehouse: Warehouse, changing: tuple[str, ...]
) -> None:
    write_recipe(settings, "own", [{"source": "caption", "column": "re_caption", "probability": 1.0}])
    assert Staleness(settings, warehouse).models("own", changing=changing) == list(names_of(RECIPE))
