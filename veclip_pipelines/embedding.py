"""Pictures and texts as a CLIP checkpoint of ours takes them: shared by training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch

# OpenAI CLIP's mean and standard deviation of RGB, on 0 to 1.
_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
_STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)


def pixels_of(picture: Image.Image, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Bicubic resize of the shorter side, centre crop, normalised: shape (3, size, size), as CLIP's own processor does."""
    scale = size / min(picture.size)
    wide, high = max(size, round(picture.width * scale)), max(size, round(picture.height * scale))
    resized = picture.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = (wide - size) // 2, (high - size) // 2
    pixels = np.asarray(resized.crop((left, top, left + size, top + size)), dtype=np.float32) / 255.0
    return ((pixels - _MEAN) / _STD).transpose(2, 0, 1)


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Token ids and attention mask, shape (texts, tokens) each, cut at the model's context length with its end token kept."""
    encoded = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
