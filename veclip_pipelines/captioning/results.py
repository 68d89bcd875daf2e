"""What a captioning step says of a row: a text with its way, or a reject with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from veclip_pipelines.captioning.plan import Unit
from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.schemas.shared_columns import KEPT, REJECTED


@dataclass(frozen=True)
class Caption:
    """The result of a unit.

    Attributes:
        text: None for a reject.
        route: how the text came about: engine, template, concept, alt_text or imported.
        answer: the engine's last answer.
        reason: why there is no text; on a kept row the guard that made it fall back.
        faults: reason codes of all guards that objected, over all attempts, sorted.
        attempts: times that the engine was asked.
    """

    text: str | None
    route: str | None
    answer: EngineText | None = None
    reason: str | None = None
    detail: str | None = None
    faults: tuple[str, ...] = ()
    attempts: int = 0

    def row(self) -> dict[str, object]:
        answer = self.answer
        return {
            "text": self.text,
            "route": self.route,
            "finish_reason": answer.finish_reason if answer else "skipped",
            "token_count": answer.token_count if answer else 0,
            "prompt_tokens": answer.prompt_tokens if answer else 0,
            "engine_text": answer.text if answer else None,
            "attempts": self.attempts,
            "faults": list(self.faults),
            "outcome": REJECTED if self.text is None else KEPT,
            "reason": self.reason,
            "detail": self.detail,
        }


def caption_rows(
    key: str, columns: Mapping[str, str | None], units: Sequence[Unit], captions: Sequence[Caption]
) -> list[dict[str, object]]:
    """The table's rows: one for each key of each unit."""
    return [
        {key: name, "input_hash": unit.input_hash, **columns, **caption.row()}
        for unit, caption in zip(units, captions, strict=True)
        for name in unit.keys
    ]
