"""The contrastive losses over all ranks, and their gradients with respect to a rank's own features.

Features are computed first and their gradients second (GradCache, Gao et al. 2021): so a batch of any size is
contrasted as a whole, however little a rank computes at a time, and the ranks exchange features, not activations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from veclip_pipelines.training.group import Group

LossName = Literal["infonce", "sigmoid"]


@dataclass(frozen=True)
class FeatureGradients:
    """The loss of the whole batch, and its gradients.

    Attributes:
        image, text: with respect to this rank's features, shape (share, dim) each.
        scale, bias: with respect to the logarithm of the inverse temperature and SigLIP's bias.
    """

    loss: float
    image: torch.Tensor
    text: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor


def info_nce(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, own: slice = slice(None)) -> torch.Tensor:
    """Symmetric InfoNCE (Radford et al. 2021, figure 3): this rank's part of the mean over the batch.

    Args:
        image, text: normalised, shape (batch, dim); row i of one belongs to row i of the other.
        scale: logarithm of the inverse temperature, scalar.
        own: the rows of this rank; all of them where there is one rank.
    """
    labels = torch.arange(len(image), device=image.device)[own]
    by_image = functional.cross_entropy(scale.exp() * image[own] @ text.T, labels, reduction="sum")
    by_text = functional.cross_entropy(scale.exp() * text[own] @ image.T, labels, reduction="sum")
    return (by_image + by_text) / (2 * len(image))


def sigmoid_loss(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, own: slice = slice(None)
) -> torch.Tensor:
    """SigLIP's loss (Zhai et al. 2023, algorithm 1): each pair is right or wrong by itself. Arguments as :func:`info_nce`."""
    logits = scale.exp() * image[own] @ text.T + bias
    signs = -torch.ones_like(logits)
    rows = torch.arange(len(image), device=image.device)[own]
    signs[torch.arange(len(rows)), rows] = 1.0
    return -functional.logsigmoid(signs * logits).sum() / len(image)


def chance_loss(name: LossName, batch: int) -> float:
    """The loss of a model to which all pairs look the same: the loss at which a collapsed training stays."""
    if name == "infonce":
        return math.log(batch)
    # The best that a constant logit can do: that of one right pair in each row.
    return math.log(batch) - (batch - 1) * math.log1p(-1.0 / batch)


def feature_gradients(
    name: LossName, image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, group: Group
) -> FeatureGradients:
    """Gathers all ranks' features and computes the loss.

    Args:
        image, text: this rank's normalised features without a graph, float32, shape (share, dim).
    """
    (all_image, all_text), own = group.gather(image, text)
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (all_image, all_text, scale, bias)]
    if name == "infonce":
        loss = info_nce(leaves[0], leaves[1], leaves[2], own)
    else:
        loss = sigmoid_loss(leaves[0], leaves[1], leaves[2], leaves[3], own)
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    gradients = [
        torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in zip(leaves, found, strict=True)
    ]
    total = loss.detach().clone()
    # Each rank has the gradients of its own rows of the loss; a feature contributes to every rank's.
    group.sum_([*gradients, total])
    return FeatureGradients(total.item(), gradients[0][own], gradients[1][own], gradients[2], gradients[3])
