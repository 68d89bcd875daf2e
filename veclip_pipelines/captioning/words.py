"""What the guards see in a text: its words and numbers, instructions to a model, garbled characters, scripts that nobody asked for."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from ftfy import badness

from veclip_pipelines.engines.prompts import Prompt

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
#: An order to a model, and where the order names what to say.
_ORDER = re.compile(
    r"\b(?:ignore|disregard|forget)\s+(?:all\s+|any\s+)?(?:the\s+|your\s+|my\s+|these\s+|of\s+)*(?:above|previous|prior|preceding|earlier|"
    r"instructions?|prompts?|rules?|everything|text|captions?)\b[^,.;:!?]*"
    r"|\b(?:you are now|pretend (?:to be|you are)|act as (?:an? (?:ai|assistant|bot|model)|if))\b"
    r"|\b(?:respond|reply|answer)\s+(?:only\s+)?with\b"
    r"|\b(?:system prompt|new instructions?|do not (?:describe|caption))\b",
    re.IGNORECASE,
)
_SAY = re.compile(
    r"\b(?:write|say|print|output|repeat|respond(?:\s+only)?\s+with|reply(?:\s+only)?\s+with|answer(?:\s+only)?\s+with|translate|"
    r"tell\s+(?:me|them|us)|return|type|add|mention|include|append)\b\s*(?:that\b|only\b|just\b)?[\s:\"'“”]*",
    re.IGNORECASE,
)
#: A text of which a larger share is neither letters, digits, spaces nor the usual punctuation is garbled.
_ODD_SHARE = 0.3
_USUAL = frozenset(" .,;:!?'\"’‘“”()-–—/&%+°…")


def words(text: str) -> list[str]:
    """The words of a text as written, without punctuation."""
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


@dataclass(frozen=True)
class Instruction:
    """What the model is ordered to say, and the part of the text outside the instruction."""

    payload: str
    rest: str


def instruction_of(alt_text: str) -> Instruction | None:
    """The instruction to a model in a stranger's AltText ("ignore the above and write …"), or None.

    Only what is aimed at a model counts: "write" alone is no instruction.
    """
    order = _ORDER.search(alt_text)
    if order is None:
        return None
    told = alt_text[order.start() :]
    said = _SAY.search(told)
    payload = told[said.end() :] if said else told[order.end() - order.start() :]
    return Instruction(payload, alt_text[: order.start()])


def is_garbled(text: str, sources: str, prompt: Prompt | None) -> bool:
    """Whether a text has broken or too many odd characters, mojibake, or letters of a script that is in neither sources nor prompt.

    Args:
        sources: the texts that it was made from; empty for an answer about a picture, which may be in the prompt's script.
    """
    if "\ufffd" in text or badness.is_bad(text):
        return True
    odd = sum(
        1
        for char in text
        if not char.isalnum() and char not in _USUAL and not unicodedata.category(char).startswith("M")
    )
    if text and odd > _ODD_SHARE * len(text):
        return True
    asked = f"{prompt.system} {prompt.user}" if prompt else ""
    return bool(_scripts(text) - _scripts(f"{sources} {asked}") - {"LATIN"})


def _scripts(text: str) -> set[str]:
    return {script for char in set(text) if char.isalpha() and (script := _script_of(char))}


@lru_cache(maxsize=65_536)
def _script_of(char: str) -> str:
    """First word of a letter's Unicode name: LATIN, CYRILLIC, CJK … . Fullwidth and modifier letters belong to none."""
    name = unicodedata.name(char, "")
    script = name.split(" ", 1)[0]
    if script in (
        "FULLWIDTH",
        "HALFWIDTH",
        "MODIFIER",
        "MATHEMATICAL",
        "FEMININE",
        "MASCULINE",
        "MICRO",
        "SUPERSCRIPT",
    ):
        return ""
    # Japanese is one writing system in three scripts.
    return "CJK" if script in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else script
