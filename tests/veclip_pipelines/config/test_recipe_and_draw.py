"""Recipes and their schema, and the mix drawn by a counter-based generator."""

from __future__ import annotations

import numpy as np
import pytest

from veclip_pipelines.config.model_config import model_config
from veclip_pipelines.config.recipe import Recipe, recipe_catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import UsageError
from veclip_pipelines.training.draw import draw, times_seen


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
        ([{"source": "caption", "probability": 1.0}], "needs a column"),
        ([{"source": "alt_text", "probability": 1.0, "shuffled": True}], "can be shuffled"),
        ([{"source": "alt_text", "probability": 1.0, "when": {"language": "en"}}], "language"),
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


def test_weights_are_kept_on_average_and_drawn_by_counter() -> None:
    keys = np.random.default_rng(0).integers(2**63, size=4000, dtype=np.uint64)
    weights = np.array([1.0, 0.5, 2.25, 0.0] * 1000)
    counts = np.array([times_seen(3, epoch, keys, weights) for epoch in range(20)])
    assert np.array_equal(counts[7], times_seen(3, 7, keys, weights))
    assert not np.array_equal(counts[7], counts[8])
    assert not np.array_equal(counts[7], times_seen(4, 7, keys, weights))
    means = counts.reshape(20, 1000, 4).mean(axis=(0, 1))
    assert means[[0, 3]].tolist() == [1.0, 0.0]
    assert means[1] == pytest.approx(0.5, abs=0.02)
    assert means[2] == pytest.approx(2.25, abs=0.02)


@pytest.mark.parametrize("name", ["tiny", "scenes", "vit-b-32", "vit-b-16", "vit-l-14", "vit-h-14", "vit-h-14-336"])
def test_model_configs_that_ship_fit(settings: Settings, name: str) -> None:
    config = model_config(settings, name)
    for tower in (config["vision_config"], config["text_config"]):
        assert tower["hidden_size"] % tower["num_attention_heads"] == 0
    assert config["vision_config"]["image_size"] % config["vision_config"]["patch_size"] == 0


def test_a_users_config_comes_first_and_faults_are_named(settings: Settings) -> None:
    folder = settings.home / "model_configs"
    folder.mkdir(parents=True)
    (folder / "tiny.json").write_text(
        '{"vision_config": {"image_size": 32}, "text_config": {"max_position_embeddings": 8}}'
    )
    assert model_config(settings, "tiny")["vision_config"]["image_size"] == 32
    (folder / "odd.json").write_text('{"vision_config": {}}')
    with pytest.raises(UsageError, match="is no CLIPConfig"):
        model_config(settings, "odd")
    with pytest.raises(UsageError, match="no model config named 'vit-x'"):
        model_config(settings, "vit-x")


def test_parts_and_their_faults() -> None:
    plain = {"name": "x", "description": "", "texts": [{"source": "alt_text", "probability": 1.0}]}
    dfn = {"name": "dfn", "crawl_partitions": ["p"]}
    parts = Recipe.model_validate({**plain, "datasets": [dfn]}).parts()
    assert list(parts) == ["main", "dfn"]
    assert parts["dfn"].texts == parts["main"].texts
    for faulty, fault in (
        ([dfn, dfn], "names of their own"),
        ([{"name": "dfn"}], "names its crawl partitions"),
        ([{**dfn, "weight": 0}], "weight"),
        ([{**dfn, "filters": {"score": {"column": "c"}}}], "at_least or keep_share"),
    ):
        with pytest.raises(ValueError, match=fault):
            Recipe.model_validate({**plain, "datasets": faulty})
