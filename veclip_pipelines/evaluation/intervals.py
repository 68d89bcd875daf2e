"""Bootstrap confidence intervals over queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES, LEVEL = 1000, 0.95


@dataclass(frozen=True)
class Estimate:
    """A score between 0 and 1 with the interval that holds it at :data:`LEVEL`, and the number of queries."""

    value: float
    low: float
    high: float
    queries: int


def share_of(hits: npt.NDArray[np.bool_], clusters: npt.NDArray[np.int64] | None = None, seed: int = 0) -> Estimate:
    """Share of hits, shape (queries,), with its percentile bootstrap interval.

    Args:
        clusters: queries that belong together are drawn together: the captions of one picture are no independent witnesses.
    """
    queries = len(hits)
    clusters = np.arange(queries) if clusters is None else clusters
    sums, sizes = np.bincount(clusters, weights=hits), np.bincount(clusters)
    drawn = _draws(len(sums), seed)
    return _estimate(hits.mean(), drawn @ sums / (drawn @ sizes), queries)


def mean_per_class(hits: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64], seed: int = 0) -> Estimate:
    """Mean over the classes that are there of the share of hits in each: balanced accuracy."""
    present = np.unique(labels)
    places = np.searchsorted(present, labels)
    value = (np.bincount(places, weights=hits) / np.bincount(places)).mean()
    drawn = np.empty(RESAMPLES)
    for place, counts in enumerate(_draws(len(hits), seed)):
        sizes = np.bincount(places, weights=counts)
        seen = sizes > 0
        drawn[place] = (np.bincount(places, weights=counts * hits)[seen] / sizes[seen]).mean()
    return _estimate(value, drawn, len(hits))


def _draws(count: int, seed: int) -> npt.NDArray[np.int32]:
    """How often each of some things is drawn in each resample, shape (resamples, count)."""
    random = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLES, count), dtype=np.int32)
    for row in drawn:
        row[:] = np.bincount(random.integers(count, size=count), minlength=count)
    return drawn


def _estimate(value: float, drawn: npt.NDArray[np.float64], queries: int) -> Estimate:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high), queries)
