"""Asking an engine, judging its answers, asking again where a guard objects: the same for pictures and for texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from veclip_pipelines.captioning.results import Caption
from veclip_pipelines.compute.fanout import stop_if_cancelled
from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.loading import answers

#: Makes the batches for some rows (by place) and an attempt, each with the places of its rows.
BatchMaker = Callable[[Sequence[int], int], Iterator[tuple[Sequence[int], Any]]]


def ask(
    spec: EngineSpec,
    places: Sequence[int],
    batches: BatchMaker,
    tidy: Callable[[EngineText], EngineText],
    judge: Callable[[int, EngineText], str | None],
) -> dict[int, Caption]:
    """A caption for each place: kept (route engine), or without a text and with the reason why the last attempt was refused.

    Args:
        places: which rows are asked; batches may leave some out (a picture that cannot be read), and so does the result.
        tidy: strips quotes and the like from an answer before it is judged.
        judge: reason code of a guard that objects to an answer, or None.
    """
    policy = spec.profile.guards
    found: dict[int, Caption] = {}
    faults: dict[int, set[str]] = {}
    left = list(places)
    for attempt in range(policy.retries + 1):
        if not left:
            break
        rejected = []
        for asked, answer in _answers(spec, batches(left, attempt)):
            tidied = tidy(answer)
            reason = judge(asked, tidied)
            if reason is not None:
                faults.setdefault(asked, set()).add(reason)
                rejected.append(asked)
            text = None if reason else tidied.text
            route = None if reason else "engine"
            seen = tuple(sorted(faults.get(asked, ())))
            found[asked] = Caption(text, route, answer, reason, answer.detail or None, seen, attempt + 1)
        left = sorted(rejected)
    return found


def _answers(spec: EngineSpec, batches: Iterator[tuple[Sequence[int], Any]]) -> Iterator[tuple[int, EngineText]]:
    """Place and answer of each row."""
    waiting: list[Sequence[int]] = []

    def unlabelled() -> Iterator[Any]:
        for places, batch in batches:
            waiting.append(places)
            yield batch

    for _, replies in answers(spec, unlabelled(), stop_if_cancelled):
        yield from zip(waiting.pop(0), replies, strict=True)
