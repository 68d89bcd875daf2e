"""How far a captioning step has got, while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Rows done and left of one step, at what rate, and how long the rest will take.

    Attributes:
        rows_per_second, tokens_per_second: of what this run computed; what an earlier run had finished does not count.
        seconds_left: None before anything was computed.
    """

    stage: str
    partition: str
    rows_done: int
    rows_left: int
    batches_done: int
    batches_left: int
    rejected: int
    rows_per_second: float
    tokens_per_second: float
    seconds_left: float | None

    def __str__(self) -> str:
        total = self.rows_done + self.rows_left
        left = f", {clock(self.seconds_left)} left" if self.seconds_left is not None else ""
        return (
            f"{self.stage} {self.partition}: {self.rows_done} of {total} rows, {self.rows_per_second:.1f} rows/s, "
            f"{self.tokens_per_second:.0f} tokens/s{left}, {self.rejected} rejected"
        )


Report = Callable[[Progress], None]


def no_report(progress: Progress) -> None:
    """Takes a report and does nothing with it."""


class ProgressMeter:
    """Counts batches as they are finished."""

    def __init__(
        self, stage: str, partition: str, rows: int, batches: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stage, self._partition = stage, partition
        self._rows, self._batches = rows, batches
        self._clock = clock
        self._started = clock()
        self._done = self._done_batches = self._computed = self._rejected = self._tokens = 0

    def add(self, rows: int, rejected: int, tokens: int, found: bool) -> None:
        """Counts a finished batch; ``found`` says that an earlier run had finished it."""
        self._done += rows
        self._done_batches += 1
        self._rejected += rejected
        self._tokens += tokens
        self._computed += 0 if found else rows

    def progress(self) -> Progress:
        """How far it has got by now."""
        seconds = max(1e-9, self._clock() - self._started)
        rate = self._computed / seconds
        left = self._rows - self._done
        return Progress(
            self._stage,
            self._partition,
            self._done,
            left,
            self._done_batches,
            self._batches - self._done_batches,
            self._rejected,
            rate,
            self._tokens / seconds,
            left / rate if rate else None,
        )


def clock(seconds: float) -> str:
    """Seconds as a person reads them: 42 s, 3 min 5 s, 7 h 12 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
