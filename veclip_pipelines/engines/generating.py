"""Answers by transformers' own ``generate``: for models whose attention is not the usual one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, set_seed

from veclip_pipelines.engines.profiles import Decoding
from veclip_pipelines.engines.token_rows import Answer, Prompt, alike, stacked_inputs


class GeneratingDecoder:
    """Batches sorted by length, under the token budget; each runs until its longest answer ends."""

    def __init__(self, model: Any, end_ids: set[int], pad_id: int, token_budget: int) -> None:
        self._model = model
        self._ends = end_ids
        self._pad_id = pad_id
        self._budget = token_budget

    @torch.inference_mode()
    def answer(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        stop: Callable[[], None],
        prefix_tokens: Sequence[int] = (),
    ) -> list[Answer]:
        """One answer per prompt, in order. ``prefix_tokens`` are put before each prompt."""
        order = sorted(range(len(prompts)), key=lambda at: (-len(prompts[at].tokens), at))
        answers: dict[int, Answer] = {}
        config = self._config(decoding)
        for part in self._batches(prompts, order, len(prefix_tokens) + decoding.max_new_tokens):
            stop()
            set_seed(decoding.seed)
            rows = [[*prefix_tokens, *prompts[at].tokens] for at in part]
            answers.update(zip(part, self._generate(rows, [prompts[at] for at in part], config), strict=True))
        return [answers[at] for at in range(len(prompts))]

    def without_prefix(self) -> GeneratingDecoder:
        """Returns itself, as the prefix is passed with each call."""
        return self

    def _batches(self, prompts: Sequence[Prompt], order: Sequence[int], more: int) -> Iterator[list[int]]:
        start = 0
        while start < len(order):
            rows = alike(prompts, order[start:], self._budget // (len(prompts[order[start]].tokens) + more))
            yield list(order[start : start + rows])
            start += rows

    def _config(self, decoding: Decoding) -> GenerationConfig:
        """The profile's decoding and none of the model's own settings: what is not in engine_id must not change words."""
        sampled = {"temperature": decoding.temperature, "top_p": decoding.top_p} if decoding.temperature > 0 else {}
        return GenerationConfig(
            max_new_tokens=decoding.max_new_tokens,
            do_sample=decoding.temperature > 0,
            repetition_penalty=decoding.repetition_penalty,
            eos_token_id=sorted(self._ends),
            pad_token_id=self._pad_id,
            bos_token_id=self._model.generation_config.bos_token_id,
            **sampled,
        )

    def _generate(
        self, rows: Sequence[Sequence[int]], prompts: Sequence[Prompt], config: GenerationConfig
    ) -> list[Answer]:
        device = self._model.device
        inputs = stacked_inputs(prompts, device)
        length = max(len(row) for row in rows)
        if length:
            padded = [[self._pad_id] * (length - len(row)) + list(row) for row in rows]
            mask = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
            inputs["input_ids"] = torch.tensor(padded, device=device)
            inputs["attention_mask"] = torch.tensor(mask, device=device)
            for name in prompts[0].token_inputs:
                given = [[0] * (length - len(prompt.tokens)) + list(prompt.token_inputs[name]) for prompt in prompts]
                inputs[name] = torch.tensor(given, device=device)
        tokens = self._model.generate(**inputs, generation_config=config)
        # A chat model repeats the prompt before its answer; a captioner's text is all caption.
        return [self._answer(row) for row in tokens[:, length:].tolist()]

    def _answer(self, row: list[int]) -> Answer:
        ends = next((place for place, token in enumerate(row) if token in self._ends), None)
        return Answer(row if ends is None else row[:ends], ends is not None)
