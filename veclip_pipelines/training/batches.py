"""Which samples are in which batch: a true global shuffle, each sample once an epoch, the same for any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from veclip_pipelines.training.draw import times_seen

#: One picture alone has nothing to contrast with: a remainder of one joins the batch before it.
_SMALLEST = 2


@dataclass(frozen=True)
class Batch:
    """One optimiser step's samples, over all ranks.

    Attributes:
        numbers: of the samples, shape (batch,).
    """

    step: int
    epoch: int
    numbers: npt.NDArray[np.uint32]

    def of_rank(self, rank: int, world: int) -> npt.NDArray[np.uint32]:
        """A rank's share: neighbours in the batch, so that gathered features are in the batch's order."""
        return np.array_split(self.numbers, world)[rank]


@dataclass(frozen=True)
class Seen:
    """How often a run showed each sample.

    Attributes:
        epochs: whole epochs.
        total: shape (samples,).
        last: of that, in the epoch that was begun but not finished, shape (samples,).
    """

    epochs: int
    total: npt.NDArray[np.uint32]
    last: npt.NDArray[np.uint32]


@dataclass(frozen=True)
class BatchPlan:
    """The batches of a run. They are worked out from (seed, epoch) alone, so a run resumes at any step.

    Attributes:
        weights: how often each sample is seen per epoch on average; None: once.
    """

    samples: int
    batch_size: int
    seed: int
    keys: npt.NDArray[np.uint64] | None = None
    weights: npt.NDArray[np.float64] | None = None

    def counts(self, epoch: int) -> npt.NDArray[np.int64] | None:
        """How often each sample is seen in an epoch; None where each is seen once."""
        if self.weights is None or self.keys is None:
            return None
        return times_seen(self.seed, epoch, self.keys, self.weights)

    def order(self, epoch: int) -> npt.NDArray[np.uint32]:
        """The samples of an epoch, shuffled over all of them, shape (seen,)."""
        numbers = np.arange(self.samples, dtype=np.uint32)
        counts = self.counts(epoch)
        if counts is not None:
            numbers = np.repeat(numbers, counts)
        np.random.default_rng([self.seed, epoch]).shuffle(numbers)
        return numbers

    def batches_in(self, epoch: int) -> int:
        counts = self.counts(epoch)
        seen = self.samples if counts is None else int(counts.sum())
        return len(_bounds(seen, self.batch_size)) - 1

    def steps_of(self, epochs: int) -> int:
        return sum(self.batches_in(epoch) for epoch in range(epochs))

    def seen(self, steps: int) -> Seen:
        """How often each sample is seen in a run of this many steps."""
        total, last = (np.zeros(self.samples, dtype=np.uint32) for _ in range(2))
        epoch, step = 0, 0
        while step < steps:
            count = self.batches_in(epoch)
            if step + count > steps:
                order = self.order(epoch)
                begun = order[: _bounds(len(order), self.batch_size)[steps - step]]
                last = np.bincount(begun, minlength=self.samples).astype(np.uint32)
                break
            counts = self.counts(epoch)
            total += np.uint32(1) if counts is None else counts.astype(np.uint32)
            step, epoch = step + count, epoch + 1
        return Seen(epoch, total + last, last)

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Batches from a step on, without end."""
        step, epoch = 0, 0
        while True:
            count = self.batches_in(epoch)
            if count and step + count > start:
                order = self.order(epoch)
                bounds = _bounds(len(order), self.batch_size)
                for place in range(max(0, start - step), count):
                    yield Batch(step + place, epoch, order[bounds[place] : bounds[place + 1]])
            step, epoch = step + count, epoch + 1


def _bounds(seen: int, size: int) -> list[int]:
    """Where the batches of an epoch begin and end."""
    bounds = [*range(0, seen, size), seen]
    if len(bounds) > 2 and bounds[-1] - bounds[-2] < _SMALLEST:
        del bounds[-2]
    return bounds if seen >= _SMALLEST else [0]
