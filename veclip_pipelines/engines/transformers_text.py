"""Any causal language model by transformers: chat template, safetensors or GGUF.

Most of a prompt is the same for every row (instruction and examples): its keys and values are computed once and shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from veclip_pipelines.engines.base import EngineText, TextBatch, go_on
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.profiles import Decoding
from veclip_pipelines.engines.prompts import plain_chat
from veclip_pipelines.engines.shared_prefix import SharedPrefix
from veclip_pipelines.engines.token_rows import Answer, Prompt
from veclip_pipelines.engines.transformers_common import choose_decoder, engine_texts, load_model
from veclip_pipelines.errors import UsageError


@dataclass(frozen=True)
class _Prepared:
    rows: list[list[int]]
    keys: tuple[str, ...]
    decoding: Decoding


class TransformersTextEngine:
    """Answers a prompt for many rows at once, token for token as ``generate`` would for each of them."""

    def __init__(self, spec: EngineSpec) -> None:
        if spec.prompt is None:
            raise UsageError(f"engine profile {spec.profile.name!r} names no prompt, and a text engine needs one")
        self._prompt = spec.prompt
        self._profile = spec.profile
        arguments = {"gguf_file": spec.profile.gguf_file} if spec.profile.gguf_file else {}
        self.tokenizer = AutoTokenizer.from_pretrained(spec.model_folder, trust_remote_code=False, **arguments)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model = load_model(AutoModelForCausalLM, spec)
        self._context = getattr(self.model.config, "max_position_embeddings", None) or 2**31
        self.prefix = self._common_tokens()
        pad_id, budget = self.tokenizer.pad_token_id, spec.profile.token_budget
        probe = Prompt(self.token_ids(dict.fromkeys(self._prompt.fields, "a red kite over the sea")))
        prefix = self._keys_and_values()
        self.decoder = choose_decoder(self.model, probe, pad_id, budget, prefix, len(self.prefix))
        #: For rows that begin differently from the others.
        self._plain = self.decoder.without_prefix()

    def prompt_text(self, values: Mapping[str, str]) -> str:
        """The whole text that the model reads for one row."""
        messages = self._prompt.messages(values)
        if self.tokenizer.chat_template is None:
            return plain_chat(messages)
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def token_ids(self, values: Mapping[str, str]) -> list[int]:
        """The whole prompt of one row as the model reads it."""
        return self._token_ids([values])[0]

    def prepare(self, batch: TextBatch) -> _Prepared:
        """Fills and tokenises the prompts."""
        decoding = self._profile.decoding.of_attempt(batch.attempt, self._profile.guards.retry_temperature)
        return _Prepared(self._token_ids(batch.fields), batch.keys, decoding)

    def answer(self, prepared: _Prepared, stop: Callable[[], None] = go_on) -> list[EngineText]:
        """One answer per row, in order; a prompt that is too long for the model is a failed row."""
        shared, most = len(self.prefix), self._context - prepared.decoding.max_new_tokens
        answers: dict[int, Answer] = {}
        kinds: dict[bool, list[int]] = {True: [], False: []}
        for at, row in enumerate(prepared.rows):
            if len(row) <= most:
                # A tokenizer may merge across the end of the instruction: such a row is processed without the shared
                # prefix.
                kinds[row[:shared] == self.prefix and len(row) > shared].append(at)
        for begins, places in kinds.items():
            decoder, skip = (self.decoder, shared) if begins else (self._plain, 0)
            prompts = [Prompt(prepared.rows[at][skip:], prepared.keys[at]) for at in places]
            found = decoder.answer(prompts, prepared.decoding, stop, self.prefix if begins else ())
            answers.update(zip(places, found, strict=True))
        places = sorted(answers)
        lengths = [len(prepared.rows[at]) for at in places]
        texts = dict(zip(places, engine_texts([answers[at] for at in places], self.tokenizer, lengths), strict=True))
        return [texts.get(at) or _too_long(len(row), most) for at, row in enumerate(prepared.rows)]

    def _token_ids(self, rows: Sequence[Mapping[str, str]]) -> list[list[int]]:
        plain = self.tokenizer.chat_template is None
        texts = [self.prompt_text(values) for values in rows]
        return [list(ids) for ids in self.tokenizer(texts, add_special_tokens=plain)["input_ids"]] if texts else []

    def _common_tokens(self) -> list[int]:
        """The tokens that every row's prompt begins with."""
        probes = self._token_ids([dict.fromkeys(self._prompt.fields, text) for text in ("alpha", "9, omega")])
        if not self._prompt.fields:
            probes[1] = probes[1][:-1]
        return [left for left, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*probes, strict=False))]

    def _keys_and_values(self) -> SharedPrefix:
        if not self.prefix:
            return SharedPrefix((), ())
        cache = DynamicCache(config=self.model.config)
        with torch.inference_mode():
            self.model(input_ids=torch.tensor([self.prefix], device=self.model.device), cache=cache, use_cache=True)
        layers: list[Any] = list(cache.layers)
        if not all(hasattr(layer, "keys") for layer in layers):
            return SharedPrefix((), ())
        return SharedPrefix(tuple(layer.keys[0] for layer in layers), tuple(layer.values[0] for layer in layers))


def _too_long(tokens: int, most: int) -> EngineText:
    return EngineText("", "failed", 0, tokens, f"the prompt has {tokens} tokens, and the model has room for {most}")
