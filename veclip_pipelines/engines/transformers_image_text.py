"""Any image-text model by transformers: LLaVA, SmolVLM, Qwen-VL, BLIP and their like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, set_seed

from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.transformers_common import (
    end_token_ids,
    generate_arguments,
    load_model,
    read_answers,
)


class TransformersImageTextEngine:
    """Describes a batch of pictures by one ``generate`` a batch; it never sees an AltText."""

    def __init__(self, spec: EngineSpec) -> None:
        self._question = spec.prompt.question({}) if spec.prompt else ""
        self._decoding = spec.profile.decoding
        self.processor = AutoProcessor.from_pretrained(spec.model_folder, trust_remote_code=False)
        tokenizer = self.processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.model = load_model(AutoModelForImageTextToText, spec)
        if self.model.generation_config.pad_token_id is None:
            self.model.generation_config.pad_token_id = tokenizer.pad_token_id

    def encode(self, pictures: Sequence[Image.Image]) -> Any:
        """The model's inputs for a batch: the prompt with the picture's place in it, and the pixels."""
        images = list(pictures)
        if self.processor.chat_template is None:
            # Captioners without a chat (BLIP): the picture alone, or a text that the caption goes on from.
            text = [self._question] * len(images) if self._question else None
            return self.processor(images=images, text=text, return_tensors="pt", padding=True)
        content: list[dict[str, str]] = [{"type": "image"}, {"type": "text", "text": self._question}]
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        # One list a row: processors for several pictures a row would otherwise take the batch for one row's.
        return self.processor(
            images=[[image] for image in images],
            text=[prompt] * len(images),
            return_tensors="pt",
            padding=True,
        )

    def describe(self, pictures: Sequence[Image.Image]) -> list[EngineText]:
        """One caption a picture, in order."""
        encoded = self.encode(pictures).to(self.model.device, self.model.dtype)
        tokenizer = self.processor.tokenizer
        set_seed(self._decoding.seed)
        with torch.inference_mode():
            tokens = self.model.generate(**encoded, **generate_arguments(self._decoding))
        # A chat model repeats the prompt before its answer; a captioner's text is all caption.
        prompt_tokens = encoded["input_ids"].shape[1] if self.processor.chat_template is not None else 0
        return read_answers(tokens[:, prompt_tokens:], tokenizer, end_token_ids(self.model))
