"""Any causal language model by transformers: chat template, safetensors or GGUF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.prompts import plain_chat
from veclip_pipelines.engines.transformers_common import (
    end_token_ids,
    generate_arguments,
    load_model,
    read_answers,
)
from veclip_pipelines.errors import UsageError


class TransformersTextEngine:
    """Answers a prompt for a batch of rows by one ``generate`` a batch."""

    def __init__(self, spec: EngineSpec) -> None:
        if spec.prompt is None:
            raise UsageError(f"engine profile {spec.profile.name!r} names no prompt, and a text engine needs one")
        self._prompt = spec.prompt
        self._decoding = spec.profile.decoding
        arguments = {"gguf_file": spec.profile.gguf_file} if spec.profile.gguf_file else {}
        self.tokenizer = AutoTokenizer.from_pretrained(spec.model_folder, trust_remote_code=False, **arguments)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model = load_model(AutoModelForCausalLM, spec)

    def prompt_text(self, values: Mapping[str, str]) -> str:
        """The whole text that the model reads for one row."""
        messages = self._prompt.messages(values)
        if self.tokenizer.chat_template is None:
            return plain_chat(messages)
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def generate(self, fields: Sequence[Mapping[str, str]]) -> list[EngineText]:
        """One answer a row; padding is on the left, and rows do not change one another's words."""
        encoded = self.tokenizer(
            [self.prompt_text(values) for values in fields],
            return_tensors="pt",
            padding=True,
            add_special_tokens=self.tokenizer.chat_template is None,
        ).to(self.model.device)
        encoded.pop("token_type_ids", None)
        set_seed(self._decoding.seed)
        with torch.inference_mode():
            tokens = self.model.generate(
                **encoded, **generate_arguments(self._decoding), pad_token_id=self.tokenizer.pad_token_id
            )
        return read_answers(tokens[:, encoded["input_ids"].shape[1] :], self.tokenizer, end_token_ids(self.model))
