"""Fuses by a rule, without a model: the AltText in capitals, then what was seen."""

from __future__ import annotations

from collections.abc import Callable

from veclip_pipelines.engines.base import EngineText, TextBatch, go_on
from veclip_pipelines.engines.identity import EngineSpec


class UppercaseEngine:
    """The AltText in capitals. An engine with a model loads it here, from ``spec.model_folder``."""

    def __init__(self, spec: EngineSpec) -> None:
        del spec

    def prepare(self, batch: TextBatch) -> TextBatch:
        """Nothing to prepare."""
        return batch

    def answer(self, prepared: TextBatch, stop: Callable[[], None] = go_on) -> list[EngineText]:
        """One text a row; ``token_count`` counts words."""
        stop()
        texts = [f"{row['alt_text'].upper()}, {row['concept']}" for row in prepared.fields]
        return [EngineText(text, "stop", len(text.split())) for text in texts]
