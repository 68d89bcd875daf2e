"""The training loop: InfoNCE over random batches, a fresh draw of each sample's text at each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import CLIPModel, PreTrainedTokenizerFast

from veclip_pipelines.draw import draw
from veclip_pipelines.embedding import pixels_of, tokens_of
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.pictures import decode
from veclip_pipelines.recipe import ModelSettings, TrainingSettings
from veclip_pipelines.shards import read_ranges
from veclip_pipelines.training.model import build_model, train_tokenizer
from veclip_pipelines.training.samples import TrainingSample

_MAX_LOGIT_SCALE = math.log(100.0)


@dataclass(frozen=True)
class StepLog:
    """What one optimiser step did."""

    step: int
    epoch: int
    loss: float
    learning_rate: float


def train_clip(
    samples: Sequence[TrainingSample],
    model_settings: ModelSettings,
    settings: TrainingSettings,
    on_step: Callable[[StepLog], None],
) -> tuple[CLIPModel, PreTrainedTokenizerFast]:
    """Trains a CLIP from random weights; the same samples and settings give the same weights on the same machine.

    Raises:
        VeclipError: fewer than two samples, or a loss that is not finite.
    """
    if len(samples) < 2:
        raise VeclipError(f"a training set of {len(samples)} samples has nothing to contrast: CLIP needs two at least")
    torch.manual_seed(settings.seed)
    tokenizer = train_tokenizer((text for sample in samples for text in sample.texts), model_settings)
    model = build_model(model_settings, tokenizer)
    pixels = torch.from_numpy(_decode_all(samples, model_settings.image_size))
    optimiser = torch.optim.AdamW(
        _parameter_groups(model, settings.weight_decay), lr=settings.learning_rate, betas=(0.9, 0.98)
    )
    model.train()
    for step, (epoch, batch) in zip(range(settings.steps), _batches(len(samples), settings), strict=False):
        rate = learning_rate_at(step, settings)
        for group in optimiser.param_groups:
            group["lr"] = rate
        chosen = [samples[index] for index in batch]
        texts = [sample.texts[draw(settings.seed, epoch, sample.sample_id, sample.probabilities)] for sample in chosen]
        output = model(pixel_values=pixels[torch.as_tensor(batch)], **tokens_of(tokenizer, texts))
        loss = info_nce(output.image_embeds, output.text_embeds, model.logit_scale)
        if not torch.isfinite(loss):
            raise VeclipError(
                f"the loss is {loss.item()} at step {step}: lower the learning rate ({settings.learning_rate}) in the recipe"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0.0, _MAX_LOGIT_SCALE)
        on_step(StepLog(step, epoch, loss.item(), rate))
    return model.eval(), tokenizer


def info_nce(image_embeds: torch.Tensor, text_embeds: torch.Tensor, logit_scale: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE (Radford et al. 2021, figure 3).

    Args:
        image_embeds: normalised, shape (batch, dim).
        text_embeds: normalised, shape (batch, dim); row i belongs to picture i.
        logit_scale: logarithm of the inverse temperature, scalar.
    """
    logits = logit_scale.exp() * image_embeds @ text_embeds.T
    labels = torch.arange(len(logits), device=logits.device)
    return (torch.nn.functional.cross_entropy(logits, labels) + torch.nn.functional.cross_entropy(logits.T, labels)) / 2


def learning_rate_at(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then cosine to zero."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


def _batches(samples: int, settings: TrainingSettings) -> Iterator[tuple[int, list[int]]]:
    """Epoch and sample indices of each batch: each sample once an epoch; a rest that is too small to contrast is left out."""
    size = min(settings.batch_size, samples)
    epoch = 0
    while True:
        order = np.random.default_rng([settings.seed, epoch]).permutation(samples).tolist()
        for start in range(0, samples, size):
            batch = order[start : start + size]
            if len(batch) > 1:
                yield epoch, batch
        epoch += 1


def _decode_all(samples: Sequence[TrainingSample], size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    pictures = (decode(data, max_side=None) for data in read_ranges(sample.picture for sample in samples))
    return np.stack([pixels_of(picture, size) for picture in pictures])


def _parameter_groups(model: CLIPModel, weight_decay: float) -> list[dict[str, object]]:
    """Gains, biases and the temperature are not decayed (as in open_clip)."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
