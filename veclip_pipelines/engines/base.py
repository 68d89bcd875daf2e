"""The two interfaces that a model stands behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from PIL import Image

FinishReason = Literal["stop", "length", "skipped"]


@dataclass(frozen=True)
class EngineText:
    """One answer.

    Attributes:
        text: without special tokens and surrounding white space; may be empty.
        finish_reason: stop where the engine ended by itself, length where its token budget cut it, skipped where no
            engine was asked.
        token_count: tokens it produced, the end token not counted.
    """

    text: str
    finish_reason: FinishReason
    token_count: int


class ImageTextEngine(Protocol):
    """Says what it sees."""

    def describe(self, pictures: Sequence[Image.Image]) -> list[EngineText]:
        """One answer for each RGB picture, in order."""
        ...


class TextEngine(Protocol):
    """Answers a prompt."""

    def generate(self, fields: Sequence[Mapping[str, str]]) -> list[EngineText]:
        """One answer for each filled prompt, in order; each mapping has a value for each of the prompt's fields."""
        ...
