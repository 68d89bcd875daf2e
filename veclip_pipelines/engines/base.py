"""The interface of all models, for pictures and for text: a typed batch in, a typed batch out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from PIL import Image

FinishReason = Literal["stop", "length", "skipped", "failed"]


@dataclass(frozen=True)
class EngineText:
    """One answer.

    Attributes:
        text: without special tokens and surrounding white space; may be empty.
        finish_reason: stop: the engine ended by itself; length: its token budget cut the answer; failed: the engine
            could not answer this row (``detail`` says why); skipped: no engine was asked.
        token_count: tokens it produced, without the end token.
        prompt_tokens: tokens it read for this row, including the shared ones; 0 where the engine does not count them.
    """

    text: str
    finish_reason: FinishReason
    token_count: int
    prompt_tokens: int = 0
    detail: str = ""


@dataclass(frozen=True)
class TextBatch:
    """Questions for a text engine.

    Attributes:
        fields: for each row a value for each of the prompt's fields.
        keys: names each row; what is sampled for it at a temperature depends on its key and not on its place.
        attempt: 0 at first, n for the n-th retry, which samples other words (:meth:`Decoding.of_attempt`).
    """

    fields: tuple[Mapping[str, str], ...]
    keys: tuple[str, ...]
    attempt: int = 0


@dataclass(frozen=True)
class PictureBatch:
    """RGB pictures for an image-text engine, with the prompt's fields where it has any; keys and attempt as above."""

    pictures: tuple[Image.Image, ...]
    fields: tuple[Mapping[str, str], ...]
    keys: tuple[str, ...]
    attempt: int = 0


Batch = TypeVar("Batch", contravariant=True)


class Engine(Protocol[Batch]):
    """A loaded model. ``prepare`` may run in one thread while ``answer`` runs in another, for another batch."""

    def prepare(self, batch: Batch) -> Any:
        """Does the work that needs no model: tokens, pixels, requests."""
        ...

    def answer(self, prepared: Any, stop: Callable[[], None]) -> list[EngineText]:
        """One answer per row, in order.

        Args:
            stop: called repeatedly; raises once nobody wants the answers any more.

        Raises:
            EngineError: the engine cannot answer any row (the server is gone). A fault of a single row gives an answer
                with finish reason ``failed``.
        """
        ...


def go_on() -> None:
    """A ``stop`` that never stops."""
