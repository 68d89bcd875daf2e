"""Near perceptual hashes by bands: two 64-bit hashes that differ in at most d bits agree in at least one of d + 1 bands
(pigeonhole), so a join on bands finds every near pair, and nothing is left to chance.
"""

from __future__ import annotations

from itertools import pairwise

_BITS = 64


def banded(table: str, distance: int) -> str:
    """A query that returns each ``hash`` (UBIGINT) of a table once per band, with the band's bits."""
    count = distance + 1
    edges = [_BITS * number // count for number in range(count + 1)]
    bands = ", ".join(
        f"{{'band': {number}, 'bits': (hash >> {low}) & {(1 << (high - low)) - 1}::UBIGINT}}"
        for number, (low, high) in enumerate(pairwise(edges))
    )
    return f"SELECT hash, unnest([{bands}], recursive := true) FROM {table}"  # noqa: S608 - names and numbers of ours
