"""The vLLM engine as far as it can be tested without a GPU: how it calls vLLM's documented interface, and how it reads the reply.

vLLM itself is a CUDA build of gigabytes: a stand-in for its ``LLM`` and ``SamplingParams`` takes its place.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from builders import write_profile
from PIL import Image

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.base import PictureBatch, TextBatch
from veclip_pipelines.engines.identity import EngineSpec, resolve_engine
from veclip_pipelines.engines.vllm_offline import VllmImageTextEngine, VllmTextEngine
from veclip_pipelines.errors import ModelMissingError


@dataclass
class SamplingParams:
    max_tokens: int
    temperature: float
    top_p: float
    repetition_penalty: float
    seed: int


@dataclass
class Completion:
    text: str
    token_ids: list[int]
    finish_reason: str


@dataclass
class RequestOutput:
    outputs: list[Completion]
    prompt_token_ids: list[int] = field(default_factory=lambda: [1, 2, 3])


class LLM:
    made: ClassVar[list[LLM]] = []

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.calls: list[int] = []
        LLM.made.append(self)

    def chat(self, messages: list[Any], sampling_params: list[Any], use_tqdm: bool) -> list[RequestOutput]:
        assert len(messages) == len(sampling_params)
        assert use_tqdm is False
        self.calls.append(len(messages))
        outputs = []
        for conversation in messages:
            content = conversation[-1]["content"]
            if isinstance(content, str):
                text = content
            else:
                assert [part["type"] for part in content] == ["image_pil", "text"]
                text = f"{content[0]['image_pil'].size}"
            if "too long" in text:
                raise ValueError("The decoder prompt is longer than the maximum model length")
            finish = "length" if "cut" in text else "stop"
            outputs.append(RequestOutput([Completion(f" {text} ", [5, 6, 7], finish)]))
        return outputs


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    LLM.made.clear()
    return LLM


def spec(settings: Settings, model: Path, purpose: str = "fusion", **fields: object) -> EngineSpec:
    kind = "vllm-text" if purpose == "fusion" else "vllm-image-text"
    write_profile(settings.home, "fast", purpose=purpose, kind=kind, model=str(model), prompt=purpose, **fields)
    return resolve_engine(settings, "fast", purpose, "1")  # type: ignore[arg-type]


def test_a_batch_is_one_call_with_a_seed_a_row(settings: Settings, tiny_llama: Path, vllm: type[LLM]) -> None:
    engine = VllmTextEngine(spec(settings, tiny_llama, dtype="bfloat16", decoding={"max_new_tokens": 9}))
    fields = tuple({"alt_text": text, "concept": "a cat"} for text in ("one", "cut", "three"))
    answers = engine.answer(engine.prepare(TextBatch(fields, ("a", "b", "c"))))
    assert [(answer.finish_reason, answer.token_count, answer.prompt_tokens) for answer in answers] == [
        ("stop", 2, 3), ("length", 3, 3), ("stop", 2, 3),
    ]  # fmt: skip
    assert "Text: one" in answers[0].text
    made = vllm.made[0]
    assert made.calls == [3]
    wanted = {
        "trust_remote_code": False,
        "load_format": "safetensors",
        "enable_prefix_caching": True,
        "dtype": "bfloat16",
    }
    assert wanted.items() <= made.arguments.items()
    assert made.arguments["model"] == str(tiny_llama)
    first, again = (
        engine.prepare(TextBatch(fields, ("a", "b", "c"))),
        engine.prepare(TextBatch(fields, ("a", "b", "c"), 1)),
    )
    assert len({row.seed for row in first.sampling} | {row.seed for row in again.sampling}) == 6
    assert {row.temperature for row in first.sampling} == {0.0}
    assert {row.temperature for row in again.sampling} == {0.7}


def test_a_prompt_that_is_too_long_fails_alone(settings: Settings, tiny_llama: Path, vllm: type[LLM]) -> None:
    engine = VllmTextEngine(spec(settings, tiny_llama))
    fields = tuple({"alt_text": text, "concept": "a cat"} for text in ("one", "too long", "three"))
    answers = engine.answer(engine.prepare(TextBatch(fields, ("a", "b", "c"))))
    assert [answer.finish_reason for answer in answers] == ["stop", "failed", "stop"]
    assert "maximum model length" in answers[1].detail
    assert vllm.made[0].calls == [3, 1, 1, 1]


def test_pictures_go_as_they_are(settings: Settings, tiny_llava: Path, vllm: type[LLM]) -> None:
    engine = VllmImageTextEngine(spec(settings, tiny_llava, "concept"))
    pictures = (Image.new("RGB", (30, 20)), Image.new("RGB", (7, 9)))
    answers = engine.answer(engine.prepare(PictureBatch(pictures, ({}, {}), ("a", "b"))))
    assert [answer.text for answer in answers] == ["(30, 20)", "(7, 9)"]
    assert vllm.made[0].arguments["limit_mm_per_prompt"] == {"image": 1}


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_the_message_names_the_extra(settings: Settings, tiny_llama: Path) -> None:
    with pytest.raises(ModelMissingError, match=r"veclip-pipelines\[vllm\]"):
        VllmTextEngine(spec(settings, tiny_llama))
