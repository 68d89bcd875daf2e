"""The mix: which of a sample's texts is drawn at an epoch, by a generator that counts instead of remembering."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate


def draw(seed: int, epoch: int, sample_id: str, probabilities: Sequence[float]) -> int:
    """Index of the text that a sample shows at an epoch (VeCLIP, section 3.3).

    A pure function of (seed, epoch, sample_id): it does not depend on workers, order or resumption.
    """
    digest = hashlib.blake2b(f"{seed}\0{epoch}\0{sample_id}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest, "big") / 2**64
    bounds = list(accumulate(probabilities))
    return next((index for index, bound in enumerate(bounds) if point < bound), len(bounds) - 1)
