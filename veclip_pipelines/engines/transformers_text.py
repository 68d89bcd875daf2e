"""Any causal language model by transformers: chat template, safetensors or GGUF.

Most of a prompt is the same for every row (instruction and examples): its keys and values are computed once and shared.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, set_seed

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
    """Answers a prompt for a batch of rows by one ``generate`` a batch, token for token as without the shared prefix."""

    def __init__(self, spec: EngineSpec) -> None:
        if spec.prompt is None:
            raise UsageError(f"engine profile {spec.profile.name!r} names no prompt, and a text engine needs one")
        self._prompt = spec.prompt
        self._decoding = spec.profile.decoding
        arguments = {"gguf_file": spec.profile.gguf_file} if spec.profile.gguf_file else {}
        self.tokenizer = AutoTokenizer.from_pretrained(spec.model_folder, trust_remote_code=False, **arguments)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model = load_model(AutoModelForCausalLM, spec)
        self._prefix, self._prefix_cache = self._make_prefix()

    def prompt_text(self, values: Mapping[str, str]) -> str:
        """The whole text that the model reads for one row."""
        messages = self._prompt.messages(values)
        if self.tokenizer.chat_template is None:
            return plain_chat(messages)
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def token_ids(self, values: Mapping[str, str]) -> list[int]:
        """The whole prompt of one row as the model reads it."""
        plain = self.tokenizer.chat_template is None
        return list(self.tokenizer(self.prompt_text(values), add_special_tokens=plain)["input_ids"])

    def generate(self, fields: Sequence[Mapping[str, str]]) -> list[EngineText]:
        """One answer a row, in order."""
        rows = [self.token_ids(values) for values in fields]
        shared = len(self._prefix)
        if any(row[:shared] != self._prefix or len(row) <= shared for row in rows):
            # A tokenizer that merges across the end of the instruction: do without.
            shared = 0
        length = max(len(row) for row in rows)
        pad = self.tokenizer.pad_token_id
        # Padding stands between the shared prefix and what is a row's own, where the mask hides it.
        padded = [row[:shared] + [pad] * (length - len(row)) + row[shared:] for row in rows]
        mask = [[1] * shared + [0] * (length - len(row)) + [1] * (len(row) - shared) for row in rows]
        arguments: dict[str, Any] = generate_arguments(self._decoding)
        if shared:
            cache = copy.deepcopy(self._prefix_cache)
            cache.batch_repeat_interleave(len(rows))
            arguments["cache"] = cache
        set_seed(self._decoding.seed)
        with torch.inference_mode():
            tokens = self.model.generate(
                input_ids=torch.tensor(padded, device=self.model.device),
                attention_mask=torch.tensor(mask, device=self.model.device),
                pad_token_id=pad,
                **arguments,
            )
        return read_answers(tokens[:, length:], self.tokenizer, end_token_ids(self.model))

    def _make_prefix(self) -> tuple[list[int], DynamicCache]:
        """The tokens that every row's prompt begins with, and their keys and values."""
        probes = [self.token_ids(dict.fromkeys(self._prompt.fields, text)) for text in ("alpha", "9, omega")]
        if not self._prompt.fields:
            probes[1] = probes[1][:-1]
        prefix = [left for left, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*probes, strict=False))]
        cache = DynamicCache(config=self.model.config)
        if prefix:
            with torch.inference_mode():
                self.model(input_ids=torch.tensor([prefix], device=self.model.device), cache=cache, use_cache=True)
        return prefix, cache
