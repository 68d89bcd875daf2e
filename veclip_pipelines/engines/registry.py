"""Which class is behind which kind of engine; each is imported only where it is used."""

from __future__ import annotations

import importlib
from typing import Any

from veclip_pipelines.engines.prompts import Purpose
from veclip_pipelines.errors import UsageError

_IMAGE_TEXT = {
    "tagger": "veclip_pipelines.engines.tagger:TaggerEngine",
    "transformers-image-text": "veclip_pipelines.engines.transformers_image_text:TransformersImageTextEngine",
}
_TEXT = {
    "transformers-text": "veclip_pipelines.engines.transformers_text:TransformersTextEngine",
}


def engine_class(kind: str, purpose: Purpose) -> Any:
    """The class of a kind of engine. Raises UsageError where that kind does not serve the purpose."""
    known = _IMAGE_TEXT if purpose == "concept" else _TEXT
    if kind not in known:
        raise UsageError(f"no engine of kind {kind!r} for {purpose} captions. Known: {', '.join(sorted(known))}.")
    module, _, name = known[kind].partition(":")
    return getattr(importlib.import_module(module), name)
