"""Recipes with a schema, and the mix drawn by a generator that counts."""

from __future__ import annotations

import pytest

from veclip_pipelines.draw import draw
from veclip_pipelines.errors import UsageError
from veclip_pipelines.recipe import Recipe, recipe_catalogue
from veclip_pipelines.settings import Settings


def test_the_three_recipes_ship(settings: Settings) -> None:
    catalogue = recipe_catalogue(settings)
    recipes = {name: catalogue.load(name) for name in catalogue.names()}
    assert {"alttext", "vecap", "mixed"} <= set(recipes)
    assert [text.probability for text in recipes["mixed"].texts] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        ([{"source": "alt_text", "probability": 0.4}], "sum to 0.4"),
        ([{"source": "vecap", "probability": 1.0}], "needs an engine profile"),
        ([{"source": "title", "probability": 1.0}], "alt_text"),
        ([], "at least 1"),
    ],
)
def test_faults_of_a_recipe_are_named(settings: Settings, texts: list[object], fault: str) -> None:
    import yaml

    folder = settings.home / "recipes"
    folder.mkdir(parents=True)
    (folder / "odd.yaml").write_text(yaml.safe_dump({"name": "odd", "description": "", "texts": texts}))
    with pytest.raises(UsageError, match=fault):
        recipe_catalogue(settings).load("odd")


def test_the_draw_is_a_pure_function_and_keeps_the_probabilities() -> None:
    drawn = [draw(0, epoch, f"{sample:032x}", (0.3, 0.7)) for epoch in range(5) for sample in range(4000)]
    assert drawn == [draw(0, epoch, f"{sample:032x}", (0.3, 0.7)) for epoch in range(5) for sample in range(4000)]
    share = drawn.count(0) / len(drawn)
    assert abs(share - 0.3) < 5 * (0.3 * 0.7 / len(drawn)) ** 0.5
    assert draw(0, 0, "x", (1.0,)) == 0


def test_seed_epoch_and_sample_each_change_the_draw() -> None:
    base = [draw(0, 0, str(n), (0.5, 0.5)) for n in range(200)]
    assert base != [draw(1, 0, str(n), (0.5, 0.5)) for n in range(200)]
    assert base != [draw(0, 1, str(n), (0.5, 0.5)) for n in range(200)]


def test_model_and_schedule_have_defaults_that_fit() -> None:
    recipe = Recipe.model_validate(
        {"name": "x", "description": "", "texts": [{"source": "alt_text", "probability": 1.0}]}
    )
    assert recipe.model.image_size % recipe.model.patch_size == 0
    assert recipe.model.width % recipe.model.heads == 0
