"""Continuous batching on one model: a row that has ended leaves the batch, and waiting rows take its place.

``generate`` continues a batch until its longest answer ends, copies all keys and values at each step, and begins the
next batch only then. Here each step covers only rows that are not finished. The order of all steps is a pure function
of the rows, so the same rows give the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from veclip_pipelines.engines.profiles import Decoding
from veclip_pipelines.engines.shared_prefix import RowsCache, SharedPrefix
from veclip_pipelines.engines.token_rows import Answer, Prompt, alike, stacked_inputs

#: Waiting rows join once this share of the running batch has ended, as each joining costs a copy of the cache.
_REFILL_SHARE = 0.4
#: Prompt tokens that are read in one step, on a GPU and on a CPU.
_PREFILL_TOKENS = {False: 16_384, True: 4_096}


class ContinuousDecoder:
    """Answers rows with one model, many at once.

    Args:
        model: a causal model whose attention is :func:`shared_prefix_attention`.
        prefix: keys and values of what every row begins with; of length 0 if rows share nothing.
        end_ids: token ids that end an answer.
        token_budget: tokens that the running rows may hold in total, prompt and answer, including padding.
    """

    def __init__(
        self,
        model: Any,
        prefix: SharedPrefix,
        end_ids: set[int],
        pad_id: int,
        token_budget: int,
    ) -> None:
        self._model = model
        self._prefix = prefix
        self._pad_id = pad_id
        self._budget = token_budget
        self._ends = torch.tensor(sorted(end_ids), device=model.device)
        self._prefill_tokens = _PREFILL_TOKENS[model.device.type == "cpu"]
        self._layers = model.config.get_text_config().num_hidden_layers

    @torch.inference_mode()
    def answer(
        self,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        stop: Callable[[], None],
        prefix_tokens: Sequence[int] = (),
    ) -> list[Answer]:
        """One answer per prompt, in order.

        Args:
            stop: called at each step; raises once nobody wants the answers any more.
            prefix_tokens: the shared prefix, which a repetition penalty counts too.
        """
        # Longest first: a row that joins is never longer than the running ones, and the rows left at the end are short.
        waiting = sorted(range(len(prompts)), key=lambda at: (-len(prompts[at].tokens), at))
        answers: dict[int, Answer] = {}
        choose = _Chooser(decoding, prefix_tokens)
        running: _Running | None = None
        while waiting or running is not None:
            stop()
            free = self._rows_that_fit(prompts, waiting, running, decoding.max_new_tokens)
            if running is None or free >= max(1, round(_REFILL_SHARE * (free + len(running.rows)))):
                taken, waiting = waiting[: max(1, free)], waiting[max(1, free) :]
                for part in self._in_steps(prompts, taken):
                    stop()
                    places = len(taken) if running is None else len(part)
                    fresh = self._read([(at, prompts[at]) for at in part], places, decoding, choose)
                    running = _together(running, self._let_out(fresh, answers, decoding), decoding)
            else:
                self._step(running, decoding, choose)
                running = self._let_out(running, answers, decoding)
        return [answers[at] for at in range(len(prompts))]

    def without_prefix(self) -> ContinuousDecoder:
        """The same for rows that share nothing."""
        ends = set(self._ends.tolist())
        return ContinuousDecoder(self._model, SharedPrefix((), ()), ends, self._pad_id, self._budget)

    @torch.inference_mode()
    def last_logits(self, prompt: Prompt) -> torch.Tensor:
        """The logits after a prompt, computed as for answers: shape (vocabulary,)."""
        return self._prefill([prompt])[0][0]

    def _rows_that_fit(
        self, prompts: Sequence[Prompt], waiting: Sequence[int], running: _Running | None, new_tokens: int
    ) -> int:
        """How many of the next rows may join."""
        if not waiting:
            return 0
        longest = len(prompts[waiting[0]].tokens) + new_tokens
        busy = len(running.rows) if running is not None else 0
        return min(len(waiting), self._budget // longest - busy)

    def _in_steps(self, prompts: Sequence[Prompt], taken: Sequence[int]) -> Iterator[Sequence[int]]:
        """Rows to be read at a time: activations must fit into memory next to the cache."""
        start = 0
        while start < len(taken):
            rows = alike(prompts, taken[start:], self._prefill_tokens // max(1, len(prompts[taken[start]].tokens)))
            yield taken[start : start + rows]
            start += rows

    def _prefill(
        self, prompts: Sequence[Prompt], places: int = 1, room: int = 0
    ) -> tuple[torch.Tensor, RowsCache, torch.Tensor]:
        """Reads prompts: their last logits, their cache, and each row's next position."""
        device = self._model.device
        rows, length = len(prompts), max(len(prompt.tokens) for prompt in prompts)
        ids = torch.full((rows, length), self._pad_id)
        mask = torch.zeros((rows, length), dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt.tokens) :] = torch.tensor(prompt.tokens)
            mask[row, length - len(prompt.tokens) :] = True
        ids, mask = ids.to(device), mask.to(device)
        positions = mask.long().cumsum(-1) - 1 + self._prefix.length
        padded = self._prefix.length or any(len(prompt.tokens) < length for prompt in prompts)
        causal = torch.ones((length, length), dtype=torch.bool, device=device).tril() if padded else None
        inputs = stacked_inputs(prompts, device)
        cache = RowsCache(self._layers, rows, max(places, rows), length + room, device)
        cache.expect(mask)
        output = self._model(
            input_ids=ids,
            position_ids=positions.clamp(min=0),
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
            shared_prefix=self._prefix,
            own_mask=mask[:, None] & causal if causal is not None else None,
            **inputs,
        )
        cache.advance(length)
        return output.logits[:, -1], cache, positions[:, -1] + 1

    def _read(self, rows: Sequence[tuple[int, Prompt]], places: int, decoding: Decoding, choose: _Chooser) -> _Running:
        """Rows with the first token of their answers, in a cache with this many places."""
        # Twice the room if others will join, so that the first rows need not be moved for each of them.
        room = decoding.max_new_tokens * (2 if places > len(rows) else 1)
        logits, cache, positions = self._prefill([prompt for _, prompt in rows], places, room)
        spoken = [_Spoken(at, list(prompt.tokens), prompt.key) for at, prompt in rows]
        return _Running(spoken, cache, positions, choose(logits, spoken))

    def _step(self, running: _Running, decoding: Decoding, choose: _Chooser) -> None:
        """Adds one token to each row."""
        cache = running.cache
        if cache.full:
            cache.rebuild(cache.places, cache.end - cache.start, decoding.max_new_tokens)
        cache.expect(cache.mask.new_ones((cache.rows, 1)))
        mask = torch.cat([cache.mask, cache.mask.new_ones((cache.rows, 1))], dim=1)
        output = self._model(
            input_ids=running.tokens[:, None],
            position_ids=running.places[:, None],
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
            shared_prefix=self._prefix,
            own_mask=mask[:, None],
        )
        cache.advance(1)
        running.tokens = choose(output.logits[:, -1], running.rows)
        running.places = running.places + 1

    def _let_out(self, running: _Running, answers: dict[int, Answer], decoding: Decoding) -> _Running | None:
        """Appends the newest tokens, and removes rows that ended."""
        ended = torch.isin(running.tokens, self._ends).tolist()
        gone = []
        for place, (row, token, ends) in enumerate(zip(running.rows, running.tokens.tolist(), ended, strict=True)):
            if not ends:
                row.said.append(token)
            if ends or len(row.said) == decoding.max_new_tokens:
                answers[row.at] = Answer(row.said, ends)
                gone.append(place)
        if len(gone) == len(running.rows):
            return None
        if gone:
            order = running.cache.remove(gone)
            index = torch.tensor(order, device=running.tokens.device)
            running.rows = [running.rows[place] for place in order]
            running.tokens, running.places = running.tokens[index], running.places[index]
        return running


@dataclass
class _Spoken:
    """A row of the running batch: its place among the prompts, its prompt and its answer so far."""

    at: int
    asked: list[int]
    key: str
    said: list[int] = field(default_factory=list)


@dataclass
class _Running:
    """The rows in progress: their cache, next positions and newest tokens."""

    rows: list[_Spoken]
    cache: RowsCache
    places: torch.Tensor
    tokens: torch.Tensor


def _together(running: _Running | None, fresh: _Running | None, decoding: Decoding) -> _Running | None:
    """Rows in progress and rows that begin, in one cache."""
    if running is None or fresh is None:
        return running or fresh
    running.cache.absorb(fresh.cache, decoding.max_new_tokens)
    return _Running(
        [*running.rows, *fresh.rows],
        running.cache,
        torch.cat([running.places, fresh.places]),
        torch.cat([running.tokens, fresh.tokens]),
    )


class _Chooser:
    """Chooses each row's next token: the likeliest, or at a temperature by draws that depend on the row's key alone."""

    def __init__(self, decoding: Decoding, prefix_tokens: Sequence[int]) -> None:
        self._decoding = decoding
        self._prefix = list(prefix_tokens)
        self._warpers = LogitsProcessorList()
        if decoding.temperature > 0:
            self._warpers.append(TemperatureLogitsWarper(decoding.temperature))
            if decoding.top_p < 1:
                self._warpers.append(TopPLogitsWarper(decoding.top_p))
        self._penalty = (
            RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty) if decoding.repetition_penalty != 1 else None
        )

    def __call__(self, logits: torch.Tensor, rows: Sequence[_Spoken]) -> torch.Tensor:
        """Shape (rows, vocabulary) to (rows,)."""
        if self._penalty is None and self._decoding.temperature == 0:
            return logits.argmax(-1)
        logits = logits.float()
        if self._penalty is not None:
            penalised = []
            for scores, row in zip(logits, rows, strict=True):
                ids = torch.tensor([[*self._prefix, *row.asked, *row.said]], device=logits.device)
                penalised.append(self._penalty(ids, scores[None]))
            logits = torch.cat(penalised)
        if self._decoding.temperature == 0:
            return logits.argmax(-1)
        nothing = torch.LongTensor(len(rows), 0)  # these warpers use the scores alone
        scores = self._warpers(nothing, logits)
        # The likeliest after adding Gumbel noise is a draw from the softmax; one generator per row and token.
        noise = torch.stack([self._noise(row, scores.shape[-1]) for row in rows]).to(scores.device)
        return (scores - noise.log()).argmax(-1)

    def _noise(self, row: _Spoken, size: int) -> torch.Tensor:
        """Exponential noise for a row's next token."""
        seed = self._decoding.seed_of(row.key, len(row.said))
        return torch.empty(size).exponential_(generator=torch.Generator().manual_seed(seed))
