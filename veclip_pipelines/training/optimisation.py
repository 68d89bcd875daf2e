"""One optimiser step, and what goes with it: learning rate, decay, averaged weights, and a stop when training has failed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from transformers import CLIPModel

from veclip_pipelines.config.recipe import TrainingSettings
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.training.group import Group
from veclip_pipelines.training.losses import FeatureGradients, LossName, chance_loss, feature_gradients

MAX_LOGIT_SCALE = math.log(100.0)
#: SigLIP's initial values (Zhai et al. 2023, section 3.2): most pairs are wrong ones.
SIGMOID_SCALE, SIGMOID_BIAS = math.log(10.0), -10.0
#: Steps over which the loss is watched, after the warm-up and that many more, and how near to chance is too near.
_WINDOW, _NEAR = 100, 0.005


def learning_rate_at(step: int, steps: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then cosine to zero."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


def make_optimiser(model: torch.nn.Module, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW; gains, biases and the temperature are not decayed (as in open_clip)."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))


class Contrastive(torch.nn.Module):
    """A CLIP with SigLIP's bias, which transformers' CLIPModel lacks and no score depends on."""

    def __init__(self, clip: CLIPModel, loss: LossName) -> None:
        super().__init__()
        self.clip = clip
        self.logit_bias = torch.nn.Parameter(torch.tensor(SIGMOID_BIAS if loss == "sigmoid" else 0.0))
        self.logit_bias.requires_grad_(loss == "sigmoid")
        if loss == "sigmoid":
            clip.logit_scale.data.fill_(SIGMOID_SCALE)

    def features(
        self, pixels: torch.Tensor, tokens: dict[str, torch.Tensor], dtype: torch.dtype
    ) -> tuple[torch.Tensor, ...]:
        """Normalised float32 features of pictures and texts, shape (share, dim) each."""
        with torch.autocast(pixels.device.type, dtype, enabled=dtype != torch.float32):
            vision = self.clip.visual_projection(self.clip.vision_model(pixel_values=pixels).pooler_output)
            language = self.clip.text_projection(self.clip.text_model(**tokens).pooler_output)
        return tuple(torch.nn.functional.normalize(tensor.float(), dim=-1) for tensor in (vision, language))


def accumulate_gradients(
    model: Contrastive, pixels: torch.Tensor, tokens: dict[str, torch.Tensor], settings: TrainingSettings, group: Group
) -> FeatureGradients:
    """Leaves the gradients of the whole batch's loss in the parameters, summed over the ranks.

    Args:
        pixels: this rank's share, shape (share, 3, size, size), normalised. tokens: shape (share, length) each.
    """
    dtype = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    scale, bias = model.clip.logit_scale, model.logit_bias
    pieces = list(_pieces(len(pixels), settings.micro_batch))
    if len(pieces) == 1:
        image, text = model.features(pixels, tokens, dtype)
        found = feature_gradients(settings.loss, image.detach(), text.detach(), scale, bias, group)
        torch.autograd.backward([image, text], [found.image, found.text])
    else:
        # Features first without a graph, then again piece by piece with the gradients that are known by then.
        with torch.no_grad():
            parts = [model.features(pixels[piece], _cut(tokens, piece), dtype) for piece in pieces]
        width = int(model.clip.config.projection_dim or 0)
        empty = pixels.new_zeros((0, width))
        image, text = (torch.cat([part[side] for part in parts] or [empty]) for side in (0, 1))
        found = feature_gradients(settings.loss, image, text, scale, bias, group)
        for piece in pieces:
            torch.autograd.backward(
                model.features(pixels[piece], _cut(tokens, piece), dtype), [found.image[piece], found.text[piece]]
            )
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    shared = []
    for parameter in parameters:
        if parameter.grad is None:  # a rank without a share
            parameter.grad = torch.zeros_like(parameter)
        if parameter is not scale and parameter is not bias:
            shared.append(parameter.grad)
    group.sum_(shared)
    scale.grad, bias.grad = found.scale, found.bias
    return found


def _pieces(share: int, micro_batch: int | None) -> Iterator[slice]:
    size = micro_batch or max(1, share)
    for start in range(0, share, size):
        yield slice(start, min(start + size, share))


def _cut(tokens: dict[str, torch.Tensor], piece: slice) -> dict[str, torch.Tensor]:
    return {name: tensor[piece] for name, tensor in tokens.items()}


@dataclass
class Average:
    """Moving average of the weights."""

    decay: float
    shadow: dict[str, torch.Tensor]

    @classmethod
    def of(cls, model: torch.nn.Module, decay: float) -> Average:
        return cls(decay, {name: value.detach().clone() for name, value in model.state_dict().items()})

    def update(self, model: torch.nn.Module) -> None:
        for name, value in model.state_dict().items():
            kept = self.shadow[name]
            if kept.is_floating_point():
                kept.lerp_(value, 1.0 - self.decay)
            else:
                kept.copy_(value)


@dataclass
class Health:
    """Stops a run that has failed, and says what to do.

    A pilot at learning rate 1e-3 collapsed: all pictures looked the same to the model, and the loss stayed at the
    logarithm of the batch size to the end of the run.
    """

    settings: TrainingSettings
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def look(self, step: int, loss: float, batch: int) -> None:
        """Raises VeclipError where the loss is not finite, or stays at chance."""
        advice = (
            f"lower the learning rate ({self.settings.learning_rate:g}) or clip the gradients harder "
            f"(max_grad_norm {self.settings.max_grad_norm:g}) in the recipe"
        )
        if not math.isfinite(loss):
            raise VeclipError(f"the loss is {loss} at step {step}: {advice}")
        self.recent.append((loss, batch))
        if len(self.recent) < _WINDOW or step < self.settings.warmup_steps + 2 * _WINDOW:
            return
        mean = sum(loss for loss, _ in self.recent) / _WINDOW
        chance = sum(chance_loss(self.settings.loss, batch) for _, batch in self.recent) / _WINDOW
        if abs(mean - chance) < _NEAR * chance:
            raise VeclipError(
                f"training has collapsed: over the last {_WINDOW} steps up to {step} the loss is {mean:.3f}, and {chance:.3f} is what "
                f"a model gets to which all pictures look the same. Warm up longer, or {advice}"
            )
