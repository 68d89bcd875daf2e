"""The mix: which of a sample's texts is drawn in an epoch, by counter-based generators, which keep no state.

What is drawn is a pure function of (seed, epoch, sample_id): it does not depend on workers, order or resumption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

_MIX_A, _MIX_B, _STEP = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)


def draw(seed: int, epoch: int, sample_id: str, probabilities: Sequence[float]) -> int:
    """Index of the text that is shown with a sample in an epoch (VeCLIP, section 3.3)."""
    point = uniform(seed, epoch, sample_id, "")
    bounds = list(accumulate(probabilities))
    return next((index for index, bound in enumerate(bounds) if point < bound), len(bounds) - 1)


def uniform(seed: int, epoch: int, sample_id: str, what: str) -> float:
    """A number in [0, 1) for one sample in one epoch; ``what`` separates draws for different purposes."""
    text = f"{seed}\0{epoch}\0{sample_id}" + (f"\0{what}" if what else "")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def times_seen(
    seed: int, epoch: int, keys: npt.NDArray[np.uint64], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """How often each sample is seen in an epoch, shape (samples,): the weight's whole part, and one more by its fraction.

    Args:
        keys: the first 64 bits of each sample_id. Mixed by SplitMix64 (Steele et al. 2014), as millions are drawn at once.
    """
    whole = np.floor(weights)
    state = keys ^ np.uint64((seed * 0x9E3779B1 + epoch) & (2**64 - 1))
    with np.errstate(over="ignore"):
        state = state + _STEP
        state = (state ^ (state >> np.uint64(30))) * _MIX_A
        state = (state ^ (state >> np.uint64(27))) * _MIX_B
    point = (state ^ (state >> np.uint64(31))) / 2.0**64
    return (whole + (point < weights - whole)).astype(np.int64)
