"""A CLIP with random weights, built from a recipe's config and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import CLIPConfig, CLIPModel

from veclip_pipelines.errors import UsageError


def build_model(config: Mapping[str, Any], tokenizer: Any) -> CLIPModel:
    """A CLIPModel (Radford et al. 2021) whose text tower reads the tokenizer's ids.

    Raises:
        UsageError: the tokenizer has no end token, by which the text tower is pooled.
    """
    if tokenizer.eos_token_id is None:
        raise UsageError("the recipe's tokenizer has no end token, and a CLIP's text is pooled at its end token")
    ids = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return CLIPModel(CLIPConfig(**{**config, "text_config": {**config["text_config"], **ids}}))
