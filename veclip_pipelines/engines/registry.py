"""Which class implements which kind of engine; each is imported only where it is used. CONTRIBUTING.md adds one."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from veclip_pipelines.engines.prompts import Purpose
from veclip_pipelines.errors import UsageError

_HERE = "veclip_pipelines.engines."


@dataclass(frozen=True)
class EngineKind:
    """A kind of engine.

    Attributes:
        path: module and class, below this package.
        sees: whether it is given pictures; one that is can make concept captions, and fuse an AltText with the picture
            itself; one that is not fuses AltText and concept caption.
        weights: whether its model's files are local: then they must exist, and their hash is a part of engine_id.
        served: whether a server answers, which the profile names.
        asked: whether there is a model to ask; the template is only a rule.
    """

    path: str
    sees: bool
    weights: bool = True
    served: bool = False
    asked: bool = True

    def load_class(self) -> Any:
        module, _, name = self.path.partition(":")
        return getattr(importlib.import_module(_HERE + module), name)


KINDS: dict[str, EngineKind] = {
    "tagger": EngineKind("tagger:TaggerEngine", sees=True),
    "transformers-image-text": EngineKind("transformers_image_text:TransformersImageTextEngine", sees=True),
    "transformers-text": EngineKind("transformers_text:TransformersTextEngine", sees=False),
    "vllm-image-text": EngineKind("vllm_offline:VllmImageTextEngine", sees=True),
    "vllm-text": EngineKind("vllm_offline:VllmTextEngine", sees=False),
    "server-image-text": EngineKind("openai_server:ServerImageTextEngine", sees=True, weights=False, served=True),
    "server-text": EngineKind("openai_server:ServerTextEngine", sees=False, weights=False, served=True),
    "template": EngineKind("", sees=False, weights=False, asked=False),
}


def engine_kind(kind: str, purpose: Purpose) -> EngineKind:
    """A kind of engine by name. Raises UsageError where there is none, or where it does not serve the purpose."""
    found = KINDS.get(kind)
    if found is None or (purpose == "concept" and not found.sees):
        usable = sorted(name for name, known in KINDS.items() if known.sees or purpose != "concept")
        raise UsageError(f"no engine of kind {kind!r} for {purpose} captions. Known: {', '.join(usable)}.")
    return found
