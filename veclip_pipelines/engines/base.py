"""The interface that a model stands behind, one for pictures and one for text: a typed batch in, a typed batch out."""

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
        finish_reason: stop where the engine ended by itself, length where its token budget cut it, failed where the engine
            could not answer this row (``detail`` says why), skipped where no engine was asked.
        token_count: tokens it produced, the end token not counted.
        prompt_tokens: tokens it read for this row, the shared ones included; 0 where the engine does not count them.
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
        keys: names each row; what is drawn for it at a temperature hangs on its key and not on its place.
        attempt: 0 at first, n for the n-th retry, which draws other words (:meth:`Decoding.of_attempt`).
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
        """What needs no model: tokens, pixels, requests."""
        ...

    def answer(self, prepared: Any, stop: Callable[[], None]) -> list[EngineText]:
        """One answer a row, in order.

        Args:
            stop: asked again and again; raises where nobody wants the answers any more.

        Raises:
            EngineError: the engine cannot answer any row (a server that is gone). What is wrong with one row is an answer
                of its own, with finish reason ``failed``.
        """
        ...


ImageTextEngine = Engine[PictureBatch]
TextEngine = Engine[TextBatch]


def go_on() -> None:
    """A ``stop`` that never stops."""
