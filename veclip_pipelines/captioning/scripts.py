"""Garbled text, and text in a script that nobody asked for."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from ftfy import badness

from veclip_pipelines.engines.prompts import Prompt

#: A text of which a larger share is neither letters, digits, spaces nor the usual punctuation is garbled.
_ODD_SHARE = 0.3
_USUAL = frozenset(" .,;:!?'\"’‘“”()-–—/&%+°…")


def is_garbled(text: str, sources: str, prompt: Prompt | None) -> bool:
    """Whether a text has broken characters, mojibake, too many odd ones, or letters of a script of neither source nor prompt.

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
    # One writing system of Japanese in three scripts.
    return "CJK" if script in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else script
