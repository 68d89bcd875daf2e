"""The training loop of one rank."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPModel

from veclip_pipelines.config.model_config import tokenizer_for
from veclip_pipelines.config.recipe import ModelSettings, TrainingSettings
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.training.batches import BatchPlan
from veclip_pipelines.training.embedding import normalised, tokens_of
from veclip_pipelines.training.group import Group
from veclip_pipelines.training.loader import LoadedBatch, Loader, LoaderSettings
from veclip_pipelines.training.model import build_model
from veclip_pipelines.training.optimisation import (
    MAX_LOGIT_SCALE,
    Average,
    Contrastive,
    Health,
    accumulate_gradients,
    learning_rate_at,
    make_optimiser,
)
from veclip_pipelines.training.samples import SampleFile
from veclip_pipelines.training.state import load_state, save_state
from veclip_pipelines.training.step_log import Progress, StepLog

#: Samples whose texts a tokenizer is trained on.
TOKENIZER_SAMPLES = 1_000_000


@dataclass(frozen=True)
class TrainingJob:
    """A training as it is passed to each rank.

    Attributes:
        samples: file of the set's samples.
        state: folder of the state that it resumes from.
        config: CLIPConfig as JSON has it.
    """

    samples: Path
    state: Path
    config: Mapping[str, Any]
    model: ModelSettings
    training: TrainingSettings
    loader: LoaderSettings = field(default_factory=LoaderSettings)


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    model: CLIPModel
    tokenizer: Any
    progress: Progress


def train(
    job: TrainingJob,
    group: Group,
    *,
    on_step: Callable[[StepLog], None] = lambda log: None,
    before_step: Callable[[], None] = lambda: None,
    mlflow_run_id: str = "",
) -> Trained:
    """Trains a CLIP from random weights, or from the last saved state, to its last step.

    The same samples and settings give the same weights on the same machine; another number of ranks gives the same batches,
    and losses that differ by rounding.

    Args:
        on_step: called by the first rank after each step.
        before_step: may raise, to end a run that has been cancelled.

    Raises:
        VeclipError: fewer than two samples, a missing picture, a loss that is not finite or stays at chance.
    """
    samples, settings = SampleFile(job.samples), job.training
    if len(samples) < 2:
        raise VeclipError(f"a training set of {len(samples)} samples has nothing to contrast: CLIP needs two at least")
    torch.manual_seed(settings.seed)
    context = int(job.config["text_config"]["max_position_embeddings"])
    tokenizer = tokenizer_for(job.model, context, samples.texts(TOKENIZER_SAMPLES))
    model = Contrastive(build_model(job.config, tokenizer), settings.loss).to(group.device).train()
    if settings.activation_checkpointing:
        model.clip.activation_checkpointing_enable({"use_reentrant": False})
    optimiser = make_optimiser(model, settings)
    average = Average.of(model, settings.ema_decay) if settings.ema_decay else None
    progress = load_state(job.state, model, optimiser, average)
    progress.mlflow_run_id = progress.mlflow_run_id or mlflow_run_id
    plan = plan_of(samples, settings)
    steps = plan.steps_of(settings.epochs) if settings.epochs else settings.steps
    health = Health(settings)
    size = int(job.config["vision_config"]["image_size"])
    loader = Loader(samples, plan, settings, size, job.loader, group.rank, group.world)
    with loader.batches(progress.step) as batches:
        while progress.step < steps:
            before_step()
            log = _step(model, tokenizer, optimiser, next(batches), steps, settings, group)
            if average is not None:
                average.update(model)
            progress.step += 1
            progress.history.append(log)
            health.look(log.step, log.loss, min(settings.batch_size, len(samples)))
            if group.rank == 0:
                on_step(log)
                if progress.step % settings.checkpoint_steps == 0 and progress.step < steps:
                    save_state(job.state, model, optimiser, average, progress)
    if average is not None:
        model.load_state_dict(average.shadow)
    return Trained(model.clip.eval(), tokenizer, progress)


def plan_of(samples: SampleFile, settings: TrainingSettings) -> BatchPlan:
    """The batches of a run over some samples."""
    weights = samples.weights()
    if np.all(weights == 1.0):
        return BatchPlan(len(samples), settings.batch_size, settings.seed)
    return BatchPlan(len(samples), settings.batch_size, settings.seed, samples.keys(), weights)


def _step(
    model: Contrastive,
    tokenizer: Any,
    optimiser: torch.optim.Optimizer,
    loaded: LoadedBatch,
    steps: int,
    settings: TrainingSettings,
    group: Group,
) -> StepLog:
    rate = learning_rate_at(loaded.batch.step, steps, settings)
    for parameters in optimiser.param_groups:
        parameters["lr"] = rate
    pixels = normalised(torch.from_numpy(loaded.pixels).to(group.device))
    # A rank without a share of an epoch's small last batch still takes part in each exchange.
    tokens = tokens_of(tokenizer, loaded.texts or [""])
    tokens = {name: tensor[: len(loaded.texts)].to(group.device) for name, tensor in tokens.items()}
    optimiser.zero_grad(set_to_none=True)
    found = accumulate_gradients(model, pixels, tokens, settings, group)
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
    optimiser.step()
    with torch.no_grad():
        model.clip.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)
    seen = hashlib.blake2b("\0".join(loaded.sample_ids).encode(), digest_size=8).hexdigest()
    return StepLog(loaded.batch.step, loaded.batch.epoch, found.loss, rate, seen)
