"""Engines are loaded once per process and kept: a Dask worker answers many batches, of many partitions, with one load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

from veclip_pipelines.engines.base import Engine, EngineText, PictureBatch, TextBatch
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.registry import KINDS

Batch = TypeVar("Batch", PictureBatch, TextBatch)

#: Batches that are prepared in advance: one is enough where preparing is faster than answering.
_AHEAD = 1


def load_engine(spec: EngineSpec) -> Engine[Any]:
    """The loaded engine of a spec. Raises ModelMissingError or EngineError where it cannot be loaded."""
    return _load(_Key(spec)).engine


def answers(
    spec: EngineSpec, batches: Iterable[Batch], stop: Callable[[], None]
) -> Iterator[tuple[Batch, list[EngineText]]]:
    """Each batch with its answers, in order; the next one is made and prepared in a thread meanwhile. Only one thread of a process
    answers at a time, as a model has one state.
    """
    loaded = _load(_Key(spec))
    with ThreadPoolExecutor(1, thread_name_prefix="prepare") as pool:
        source = iter(batches)

        def prepare_next() -> tuple[Batch, Any] | None:
            for batch in source:
                return batch, loaded.engine.prepare(batch)
            return None

        ahead: list[Future[tuple[Batch, Any] | None]] = [pool.submit(prepare_next) for _ in range(1 + _AHEAD)]
        try:
            while (prepared := ahead.pop(0).result()) is not None:
                ahead.append(pool.submit(prepare_next))
                with loaded.lock:
                    found = loaded.engine.answer(prepared[1], stop)
                yield prepared[0], found
        finally:
            for future in ahead:
                future.cancel()


def warm_up(spec: EngineSpec) -> None:
    """Loads an engine so that the first batch need not wait; a failure is left for that batch to report."""
    with suppress(Exception):
        _load(_Key(spec))


class _Loaded:
    def __init__(self, spec: EngineSpec) -> None:
        self.engine: Engine[Any] = KINDS[spec.profile.kind].load_class()(spec)
        self.lock = threading.Lock()


class _Key:
    """A spec that is compared by engine and model folder, so that two profiles of the same engine share one load."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        profile = spec.profile
        self._parts = (
            spec.engine_id,
            profile.device,
            spec.model_folder,
            profile.server,
            profile.token_budget,
            profile.in_flight,
        )

    def __hash__(self) -> int:
        return hash(self._parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._parts == other._parts


_LOADING = threading.Lock()


def _load(key: _Key) -> _Loaded:
    # Warming up and the first batch may load at once: the later one waits instead of loading the model again.
    with _LOADING:
        return _loaded(key)


# The only state of this package that outlives a call. Two, so that a captioner and a fuser stay loaded side by side.
@lru_cache(maxsize=2)
def _loaded(key: _Key) -> _Loaded:
    return _Loaded(key.spec)
