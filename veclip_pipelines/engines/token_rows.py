"""Rows as a model reads and answers them: token ids, and the inputs that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Prompt:
    """A row as the model reads it.

    Attributes:
        tokens: token ids; none for captioners that take the picture alone.
        key: names the row: what is sampled for it depends on this and not on its place.
        inputs: what else the model takes with the tokens (pixels), each with a first dimension of 1.
        token_inputs: what it takes for each token (which of them stand for a picture), as long as ``tokens``.
    """

    tokens: Sequence[int]
    key: str = ""
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    token_inputs: dict[str, Sequence[int]] = field(default_factory=dict)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs without their first dimension: only rows of equal shapes can be read together."""
        return tuple(tuple(value.shape[1:]) for value in self.inputs.values())


def stacked_inputs(prompts: Sequence[Prompt], device: torch.device) -> dict[str, torch.Tensor]:
    """What the model takes with the tokens of several rows, one after the other."""
    return {name: torch.cat([prompt.inputs[name] for prompt in prompts]).to(device) for name in prompts[0].inputs}


def alike(prompts: Sequence[Prompt], places: Sequence[int], most: int) -> int:
    """How many of the first places, at least one and at most the given number, have inputs of equal shapes."""
    shapes = prompts[places[0]].shapes
    part = places[: max(1, most)]
    return next((count for count, place in enumerate(part) if prompts[place].shapes != shapes), len(part))


@dataclass(frozen=True)
class Answer:
    """Token ids of an answer, its end token left out, and whether it ended by itself."""

    tokens: list[int]
    ended: bool
