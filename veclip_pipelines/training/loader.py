"""Batches of pixels and tokens, straight from the shards: read, decoded and tokenized ahead of the step that needs them."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from veclip_pipelines.config.recipe import TrainingSettings
from veclip_pipelines.training.batches import Batch, BatchPlan
from veclip_pipelines.training.decoding import Crop, Wanted, load_pictures
from veclip_pipelines.training.draw import draw, uniform
from veclip_pipelines.training.samples import SampleFile, TrainingSample

#: Pictures in one task.
_PIECE = 32


@dataclass(frozen=True)
class LoaderSettings:
    """How pictures are decoded. None of it changes what a step sees.

    Attributes:
        workers: threads or processes.
        processes: processes, started by spawn, instead of threads: for pictures that Pillow decodes.
        ahead: batches that are read in advance.
    """

    workers: int = 2
    processes: bool = False
    ahead: int = 3


@dataclass(frozen=True)
class LoadedBatch:
    """A rank's share of a batch.

    Attributes:
        pixels: uint8, shape (share, size, size, 3).
        texts: the text that was drawn for each sample.
        sample_ids: of all samples of the batch, over all ranks.
    """

    batch: Batch
    pixels: npt.NDArray[np.uint8]
    texts: list[str]
    sample_ids: list[str]


@dataclass(frozen=True)
class Loader:
    """Loads a rank's share of each batch of a plan."""

    samples: SampleFile
    plan: BatchPlan
    training: TrainingSettings
    size: int
    settings: LoaderSettings = LoaderSettings()
    rank: int = 0
    world: int = 1

    @contextmanager
    def batches(self, start: int = 0) -> Iterator[Iterator[LoadedBatch]]:
        """Batches from a step on. What was read ahead is dropped when the context ends."""
        with self._executor() as executor:
            try:
                yield self._ahead(executor, start)
            finally:
                executor.shutdown(wait=True, cancel_futures=True)

    def _ahead(self, executor: Executor, start: int) -> Iterator[LoadedBatch]:
        waiting: deque[tuple[Any, ...]] = deque()
        source = self.plan.batches(start)
        while True:
            while len(waiting) <= self.settings.ahead:
                waiting.append(self._begin(executor, next(source)))
            batch, futures, texts, ids = waiting.popleft()
            parts = [future.result() for future in futures]
            pixels = np.concatenate(parts) if parts else np.empty((0, self.size, self.size, 3), np.uint8)
            yield LoadedBatch(batch, pixels, texts, ids)

    def _begin(
        self, executor: Executor, batch: Batch
    ) -> tuple[Batch, list[Future[npt.NDArray[np.uint8]]], list[str], list[str]]:
        own = [self.samples[int(number)] for number in batch.of_rank(self.rank, self.world)]
        wanted = [Wanted(sample.picture, self._crop(batch.epoch, sample)) for sample in own]
        futures = [
            executor.submit(load_pictures, wanted[at : at + _PIECE], self.size, self.training.crop_scale)
            for at in range(0, len(wanted), _PIECE)
        ]
        texts = [
            sample.texts[draw(self.training.seed, batch.epoch, sample.sample_id, sample.probabilities)]
            for sample in own
        ]
        return batch, futures, texts, [self.samples.sample_id(int(number)) for number in batch.numbers]

    def _crop(self, epoch: int, sample: TrainingSample) -> Crop | None:
        if self.training.crop_scale >= 1.0:
            return None
        return Crop(
            *(uniform(self.training.seed, epoch, sample.sample_id, what) for what in ("scale", "ratio", "left", "top"))
        )

    def _executor(self) -> Executor:
        if self.settings.processes:
            return ProcessPoolExecutor(self.settings.workers, mp_context=multiprocessing.get_context("spawn"))
        return ThreadPoolExecutor(self.settings.workers, thread_name_prefix="veclip-decode")
