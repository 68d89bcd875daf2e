"""Words of a text, as the guards compare them: lower case, a light stem, function words apart."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_NUMBER = re.compile(r"\d[\d,.]*")

FUNCTION_WORDS = frozenset(
    """a about above across after against all along also am among an and another any are around as at away be
    been before behind being below beneath beside between both but by can could did do does down each every
    featuring few for from had has have having he her here hers him his holding how i in into is it its itself
    just made many may me more most much my near next no nor not of off on one only onto or other our out over
    own per photo photograph picture set seen several she showing shown so some such than that the their them
    then there these they this those through to together toward towards under up upon very was we were what
    when where which while who whose will with within without you your""".split()
)

_SUFFIXES = ("ings", "ing", "edly", "ed", "ies", "es", "s", "ly", "y")


def words(text: str) -> list[str]:
    """The words of a text as they stand, punctuation apart."""
    return _WORD.findall(text)


def stem(word: str) -> str:
    """A rough stem: enough that cat meets cats and shining meets shines."""
    word = word.lower().replace("’", "'").removesuffix("'s")
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word.removesuffix(suffix)
            break
    return word.removesuffix("e") if len(word) > 3 else word


def content_stems(text: str) -> set[str]:
    """Stems of the words that carry meaning, numbers included."""
    return {stem(word) for word in words(text) if word.lower() not in FUNCTION_WORDS}


def numbers_of(text: str) -> set[str]:
    """The numbers of a text, digit groups joined: 1,200 and 1200 are one."""
    return {number.replace(",", "").rstrip(".") for number in _NUMBER.findall(text)}
