"""Texts that can be recognised without being kept: a text's fingerprint is its number of words and a hash of them.

A fingerprint is looked for in running text by a hash that rolls over its words (Rabin and Karp), so that an AltText is found in
a log, in HTML or in JSON whatever is around it, in any case, and with other spaces and punctuation.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

#: A text of fewer words is too unspecific to be searched for inside another: it counts only where it is a whole value.
LEAST_WORDS = 4
_WORD = re.compile(r"\w+")
#: Odd, so that its powers never vanish modulo 2 to the 64th.
_BASE = np.uint64(0x9E3779B97F4A7C15)


def fingerprint(text: str) -> str | None:
    """``words:hash`` of a text; None where it has no word."""
    hashes = _hashes(text)
    return None if not len(hashes) else f"{len(hashes)}:{int(_rolled(hashes, len(hashes))[0]):016x}"


def fingerprints(texts: Iterable[str | None]) -> list[str]:
    """The fingerprints of some texts, each once, sorted."""
    return sorted({found for text in texts if text and (found := fingerprint(text)) is not None})


class Wanted:
    """Fingerprints that are looked for."""

    def __init__(self, wanted: Collection[str]) -> None:
        self._by_length: dict[int, npt.NDArray[np.uint64]] = {}
        lengths: dict[int, list[int]] = {}
        for one in wanted:
            words, _, digest = one.partition(":")
            lengths.setdefault(int(words), []).append(int(digest, 16))
        for length, digests in lengths.items():
            self._by_length[length] = np.array(sorted(digests), dtype=np.uint64)

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def within(self, text: str) -> set[str]:
        """Those that stand in a running text."""
        return self._among(_hashes(text), [words for words in self._by_length if words >= LEAST_WORDS])

    def of_value(self, text: str) -> set[str]:
        """Those that stand in a value, or, where they are short, are all of it."""
        hashes = _hashes(text)
        return self._among(hashes, [words for words in self._by_length if words >= LEAST_WORDS or words == len(hashes)])

    def _among(self, hashes: npt.NDArray[np.uint64], lengths: Iterable[int]) -> set[str]:
        found = set()
        for words in lengths:
            if words > len(hashes):
                continue
            rolled = _rolled(hashes, words)
            hits = rolled[np.isin(rolled, self._by_length[words])]
            found |= {f"{words}:{int(hit):016x}" for hit in np.unique(hits)}
        return found


def _hashes(text: str) -> npt.NDArray[np.uint64]:
    """One hash a word, shape (words,)."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return np.fromiter((_word_hash(word) for word in words), dtype=np.uint64, count=len(words))


@lru_cache(maxsize=200_000)
def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _rolled(hashes: npt.NDArray[np.uint64], words: int) -> npt.NDArray[np.uint64]:
    """The hash of each window of this many words, shape (windows,): sums of hash times power, all modulo 2 to the 64th."""
    with np.errstate(over="ignore"):
        powers = np.multiply.accumulate(np.full(words, _BASE, dtype=np.uint64))
        if words == len(hashes):
            return np.array([np.add.reduce(hashes * powers)], dtype=np.uint64)
        total = np.zeros(len(hashes) - words + 1, dtype=np.uint64)
        for at, power in enumerate(powers):
            total += hashes[at : at + len(total)] * power
        return total
