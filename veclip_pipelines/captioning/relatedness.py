"""Whether an AltText and what is seen in its picture have to do with each other, by their texts' embeddings.

This is checked only where a profile names a model for it (``guards: {relatedness: …}``): a captioner must be good
before its words can prove an AltText wrong. Any sentence embedder that transformers' AutoModel loads will do, such as
all-MiniLM-L6-v2; the text's embedding is the mean over its tokens, as such models are trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from veclip_pipelines.engines.identity import EngineSpec, model_folder

#: Reason code of a sample whose AltText and picture have nothing to do with each other: it is not fused.
UNRELATED = "unrelated"
_AT_A_TIME = 64


def unrelated_pairs(spec: EngineSpec, fields: Sequence[Mapping[str, str]], places: Sequence[int]) -> dict[int, str]:
    """Places at which AltText and concept caption are less alike than the policy asks, each with what was measured.

    Raises:
        ModelMissingError: the policy's model is not installed.
    """
    policy = spec.profile.guards
    if policy.relatedness is None or UNRELATED in policy.skip:
        return {}
    profile = spec.profile.model_copy(update={"model": policy.relatedness, "revision": None})
    embedder = _load(model_folder(spec.models, profile))
    found = {}
    for start in range(0, len(places), _AT_A_TIME):
        part = places[start : start + _AT_A_TIME]
        alt_texts = embedder.embed([fields[place]["alt_text"] for place in part])
        concepts = embedder.embed([fields[place]["concept"] for place in part])
        for place, alike in zip(part, (alt_texts * concepts).sum(-1).tolist(), strict=True):
            if alike < policy.minimum_relatedness:
                found[place] = f"AltText and concept caption: cosine {alike:.2f}"
    return found


class _Embedder:
    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self._model = AutoModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=False).eval()

    def embed(self, texts: Sequence[str]) -> Any:
        """Unit vectors: shape (texts, width)."""
        torch = self._torch
        encoded = self._tokenizer(list(texts), padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            states = self._model(**encoded).last_hidden_state
        mask = encoded["attention_mask"][..., None].to(states.dtype)
        return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


@lru_cache(maxsize=1)
def _load(folder: Path) -> _Embedder:
    return _Embedder(folder)
