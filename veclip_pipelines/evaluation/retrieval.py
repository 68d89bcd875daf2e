"""Image-to-text and text-to-image recall of a checkpoint on a retrieval benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from veclip_pipelines.embedding import pixels_of, tokens_of
from veclip_pipelines.evaluation.karpathy import RetrievalBenchmark, read_benchmark
from veclip_pipelines.pictures import decode

CODE_VERSION = "benchmark_scores.1"
RECALL_AT = (1, 5, 10)

_BATCH = 64


@dataclass(frozen=True)
class ScoreTask:
    """One evaluation as it is sent to a worker."""

    checkpoint_id: str
    recipe: str
    folder: Path
    benchmark: Path
    run_id: str


def score_checkpoint(task: ScoreTask) -> list[dict[str, object]]:
    """The rows of benchmark_scores for one checkpoint on one benchmark. Runs on a worker."""
    benchmark = read_benchmark(task.benchmark)
    images, texts, owners = embed(task.folder, benchmark)
    similarity = images @ texts.T
    return [
        {
            "checkpoint_id": task.checkpoint_id,
            "recipe": task.recipe,
            "benchmark": benchmark.name,
            "benchmark_sha256": benchmark.sha256,
            "metric": metric,
            "value": value,
            "queries": len(owners) if metric.startswith("text") else len(images),
            "code_version": CODE_VERSION,
            "scored_at": datetime.now(UTC),
            "run_id": task.run_id,
        }
        for metric, value in recalls(similarity, owners).items()
    ]


def recalls(similarity: np.ndarray[Any, Any], owners: Sequence[int]) -> dict[str, float]:
    """Recall at 1, 5 and 10, both ways.

    Args:
        similarity: shape (pictures, captions).
        owners: the picture that each caption belongs to. A picture's hit is any of its captions.

    Ties are counted against us: a caption that scores as high as the right one stands before it, so that a model which
    gives everything the same score scores 0.
    """
    own = np.asarray(owners)
    right = own[None, :] == np.arange(len(similarity))[:, None]
    best = np.where(right, similarity, -np.inf).max(axis=1)
    image_rank = ((similarity >= best[:, None]) & ~right).sum(axis=1)
    mine = similarity[own, np.arange(len(own))]
    text_rank = (similarity >= mine[None, :]).sum(axis=0) - 1
    return {
        **{f"image_to_text_recall@{k}": float((image_rank < k).mean()) for k in RECALL_AT},
        **{f"text_to_image_recall@{k}": float((text_rank < k).mean()) for k in RECALL_AT},
    }


def embed(folder: Path, benchmark: RetrievalBenchmark) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], list[int]]:
    """Normalised embeddings of all pictures, shape (pictures, dim), and captions, (captions, dim), and each caption's picture."""
    import torch
    from transformers import AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(folder, use_safetensors=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    size = model.config.vision_config.image_size
    texts = [caption for captions in benchmark.captions for caption in captions]
    owners = [index for index, captions in enumerate(benchmark.captions) for _ in captions]
    images, embedded = [], []
    with torch.inference_mode():
        for start in range(0, len(benchmark.pictures), _BATCH):
            pictures = benchmark.pictures[start : start + _BATCH]
            pixels = np.stack([pixels_of(decode(path.read_bytes()), size) for path in pictures])
            vision = model.vision_model(pixel_values=torch.from_numpy(pixels)).pooler_output
            images.append(torch.nn.functional.normalize(model.visual_projection(vision), dim=-1).numpy())
        for start in range(0, len(texts), _BATCH):
            language = model.text_model(**tokens_of(tokenizer, texts[start : start + _BATCH])).pooler_output
            embedded.append(torch.nn.functional.normalize(model.text_projection(language), dim=-1).numpy())
    return np.concatenate(images), np.concatenate(embedded), owners
