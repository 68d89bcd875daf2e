"""Pictures and texts as a CLIP checkpoint of ours takes them: shared by training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: OpenAI CLIP's mean and standard deviation of RGB, on 0 to 1.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_BICUBIC = 3


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 pixels, shape (pictures, size, size, 3), as a tower takes them: float32, shape (pictures, 3, size, size)."""
    import torch

    mean, std = (torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    # In place, or most of the time would go into fresh memory for intermediate results.
    planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return planes.mul_(1 / (255 * std)).sub_(mean / std)


def preprocessor_config(size: int) -> dict[str, object]:
    """What transformers' CLIPImageProcessor reads next to a checkpoint: shorter side by bicubic, centre crop, normalised."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": _BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
        "do_convert_rgb": True,
    }


def tokens_of(tokenizer: Any, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Token ids and attention mask, shape (texts, tokens) each, cut at the model's context length with its end token kept."""
    encoded = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
