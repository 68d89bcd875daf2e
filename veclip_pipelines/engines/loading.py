"""Engines are loaded once a process and kept: a Dask worker answers many batches with one load."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from veclip_pipelines.engines.base import ImageTextEngine, TextEngine
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.registry import engine_class


def image_text_engine(spec: EngineSpec) -> ImageTextEngine:
    """The loaded engine of a concept profile."""
    engine: ImageTextEngine = _load(_Key(spec))
    return engine


def text_engine(spec: EngineSpec) -> TextEngine:
    """The loaded engine of a fusion profile."""
    engine: TextEngine = _load(_Key(spec))
    return engine


class _Key:
    """A spec that is equal to another by engine and folder: two profiles of the same engine share one load."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self._parts = (spec.engine_id, spec.profile.device, spec.model_folder)

    def __hash__(self) -> int:
        return hash(self._parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._parts == other._parts


# The one state of this package that outlives a call. Two, so that a captioner and a fuser stay loaded side by side.
@lru_cache(maxsize=2)
def _load(key: _Key) -> Any:
    return engine_class(key.spec.profile.kind, key.spec.profile.purpose)(key.spec)
