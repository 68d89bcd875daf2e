"""What a training set is made from: engines by their profiles."""

from __future__ import annotations

import pytest
import yaml

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import UsageError, VeclipError
from veclip_pipelines.planning.inputs import fused_concepts, fusion_engine, training_set_inputs
from veclip_pipelines.tables.warehouse import Warehouse


def write_recipe(settings: Settings, **text: object) -> None:
    folder = settings.home / "recipes"
    folder.mkdir(parents=True, exist_ok=True)
    recipe = {"name": "odd", "description": "", "texts": [{"source": "vecap", "probability": 1.0, **text}]}
    (folder / "odd.yaml").write_text(yaml.safe_dump(recipe), "utf-8")


def test_vecap_of_our_own_names_the_captions_that_were_fused(settings: Settings, warehouse: Warehouse) -> None:
    write_recipe(settings, engine="smollm2-fusion")
    with pytest.raises(UsageError, match="needs the concept_engine"):
        training_set_inputs(settings, warehouse, "odd")


def test_imported_vecap_came_fused(settings: Settings, warehouse: Warehouse) -> None:
    write_recipe(settings, engine="imported-vecap-300m")
    with pytest.raises(VeclipError, match="no crawl partition is materialised"):
        training_set_inputs(settings, warehouse, "odd")
    engine = fusion_engine(settings, "imported-vecap-300m")
    assert fused_concepts(settings, engine, "no profile of that name is looked for") is None
