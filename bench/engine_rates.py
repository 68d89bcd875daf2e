"""Rows a second of one of our engines and of transformers' pipeline: the same model, rows, precision and processor, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from bench.outcome import Result


def best_of(run: Callable[[], Sequence[str]], rounds: int) -> tuple[float, Sequence[str]]:
    """Rows a second of the fastest of some rounds, as others' work on a shared machine only ever slows one down."""
    fastest, texts = 0.0, []
    for _ in range(rounds):
        started = time.perf_counter()
        texts = list(run())
        fastest = max(fastest, len(texts) / (time.perf_counter() - started))
    return fastest, texts


def compare(
    name: str,
    model: str,
    ours: Callable[[], Sequence[str]],
    pipeline: Callable[[int], Sequence[str]],
    batches: Sequence[int],
    rounds: int,
) -> tuple[Result, Mapping[str, str]]:
    """Our engine beside the pipeline at each batch size; as it comes is batch size 1."""
    our_rate, our_texts = best_of(ours, rounds)
    rates: dict[int, float] = {}
    same = 0
    for batch in batches:
        rates[batch], texts = best_of(lambda batch=batch: pipeline(batch), rounds if batch > 1 else 1)  # type: ignore[misc]
        same = sum(left == right for left, right in zip(our_texts, texts, strict=False))
    best = max(rates, key=lambda batch: rates[batch])
    result = Result(
        name,
        "rows/s",
        len(our_texts),
        our_rate,
        rates[best],
        f"transformers pipeline, batch {best}",
        our_rate / rates[best],
    )
    return result, {
        "model": model,
        "pipeline by batch": ", ".join(f"{batch}: {rate:.2f}" for batch, rate in rates.items()),
        "over the pipeline as it comes": f"{our_rate / rates[1]:.2f}",
        "same answers": f"{same} of {len(our_texts)} (batch {batches[-1]})",
    }
