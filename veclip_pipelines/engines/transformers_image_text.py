"""Any image-text model by transformers: LLaVA, SmolVLM, Qwen-VL, BLIP and their like."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from veclip_pipelines.engines.base import EngineText, PictureBatch, go_on
from veclip_pipelines.engines.generating import GeneratingDecoder
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.profiles import Decoding
from veclip_pipelines.engines.token_rows import Prompt
from veclip_pipelines.engines.transformers_common import (
    Decoder,
    choose_decoder,
    end_token_ids,
    engine_texts,
    load_model,
)
from veclip_pipelines.errors import ModelMissingError

#: Inputs that add nothing to the tokens and pixels.
_NEEDLESS = ("input_ids", "attention_mask", "token_type_ids")
#: Inputs with one value per token, if the model takes them: which tokens stand for a picture (Qwen-VL's positions
#: depend on it).
_A_TOKEN = ("mm_token_type_ids",)


@dataclass(frozen=True)
class _Prepared:
    prompts: list[Prompt]
    decoding: Decoding


class TransformersImageTextEngine:
    """Describes pictures, many at once. A prompt without fields never sees an AltText."""

    def __init__(self, spec: EngineSpec) -> None:
        self._prompt = spec.prompt
        self._profile = spec.profile
        try:
            self.processor = AutoProcessor.from_pretrained(spec.model_folder, trust_remote_code=False)
        except (
            ImportError,
            AttributeError,
            OSError,
            ValueError,
        ) as error:  # AttributeError: transformers 5.24 without torchvision
            raise ModelMissingError(
                f"cannot load the processor in {spec.model_folder}: {error}. Those of models that take videos too (Qwen-VL) need "
                "torchvision on the workers."
            ) from error
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.model = load_model(AutoModelForImageTextToText, spec)
        self._taken = inspect.signature(self.model.forward).parameters
        self.decoder = self._choose_decoder(tokenizer.pad_token_id, spec.profile.token_budget)

    def prepare(self, batch: PictureBatch) -> _Prepared:
        """Fills the prompts and prepares each picture's pixels for the model."""
        decoding = self._profile.decoding.of_attempt(batch.attempt, self._profile.guards.retry_temperature)
        rows = zip(batch.pictures, batch.fields, batch.keys, strict=True)
        return _Prepared([self._encode(picture, values, key) for picture, values, key in rows], decoding)

    def answer(self, prepared: _Prepared, stop: Callable[[], None] = go_on) -> list[EngineText]:
        """One caption per picture, in order."""
        answers = self.decoder.answer(prepared.prompts, prepared.decoding, stop)
        return engine_texts(answers, self.processor.tokenizer, [len(prompt.tokens) for prompt in prepared.prompts])

    def _encode(self, picture: Image.Image, values: Mapping[str, str], key: str) -> Prompt:
        """One row: each picture by itself, as models cut pictures into different numbers of tokens."""
        question = self._prompt.question(values) if self._prompt else ""
        if self.processor.chat_template is None:
            # Captioners without a chat (BLIP): the picture alone, or a text that the caption continues.
            encoded = self.processor(images=[picture], text=[question] if question else None, return_tensors="pt")
        else:
            encoded = self.processor(images=[[picture]], text=[self._chat(question)], return_tensors="pt")
        tokens: Sequence[int] = encoded["input_ids"][0].tolist() if question and "input_ids" in encoded else []
        inputs = {name: value for name, value in encoded.items() if name not in _NEEDLESS}
        a_token = {name: inputs.pop(name)[0].tolist() for name in _A_TOKEN if name in inputs}
        a_token = {name: values for name, values in a_token.items() if tokens and name in self._taken}
        return Prompt(tokens, key, self._as_weights(inputs), a_token)

    def _chat(self, question: str) -> str:
        content: list[dict[str, str]] = [{"type": "image"}, {"type": "text", "text": question}]
        opening = self._prompt.opening() if self._prompt else []
        turns = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in opening]
        return str(
            self.processor.apply_chat_template(
                [*turns, {"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
        )

    def _as_weights(self, inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        return {
            name: value.to(self.model.dtype) if value.is_floating_point() else value for name, value in inputs.items()
        }

    def _choose_decoder(self, pad_id: int, budget: int) -> Decoder:
        values = dict.fromkeys(self._prompt.fields, "a red kite") if self._prompt else {}
        probe = self._encode(Image.new("RGB", (96, 64), "teal"), values, "probe")
        if not probe.tokens:
            return GeneratingDecoder(self.model, end_token_ids(self.model), pad_id, budget)
        return choose_decoder(self.model, probe, pad_id, budget)
