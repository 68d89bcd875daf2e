"""Scores of a model on a benchmark: embeddings are computed on the workers, recall and accuracy with their intervals here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from veclip_pipelines import stages
from veclip_pipelines.compute.fanout import Runner, stop_if_cancelled
from veclip_pipelines.evaluation.benchmark_kinds import RetrievalBenchmark, ZeroShotBenchmark
from veclip_pipelines.evaluation.models import Embeddings, ModelSource, ScoredModel, load_model
from veclip_pipelines.media.pictures import decode
from veclip_pipelines.media.shards import ByteRange, read_range

CODE_VERSION = stages.BENCHMARK_SCORES.code_version
RECALL_AT, ACCURACY_AT = (1, 5, 10), (1, 5)

#: The bootstrap over queries: number of resamples, and the share of them that an interval covers.
RESAMPLES, LEVEL = 1000, 0.95
#: What one task embeds, and what a model processes at a time.
_PICTURES_A_TASK, _TEXTS_A_TASK, _BATCH = 512, 4096, 64
#: Rows of similarities that are in memory at a time.
_BLOCK = 2_000


@dataclass(frozen=True)
class Estimate:
    """A score between 0 and 1 with the interval that holds it at :data:`LEVEL`, and the number of queries."""

    value: float
    low: float
    high: float
    queries: int


@dataclass(frozen=True)
class EmbedTask:
    """A task: some pictures or some texts to embed.

    Attributes:
        place: number of the first of them.
    """

    model: ModelSource
    place: int
    pictures: tuple[ByteRange, ...] = ()
    texts: tuple[str, ...] = ()


def score(model: ModelSource, benchmark: RetrievalBenchmark | ZeroShotBenchmark, runner: Runner) -> dict[str, Estimate]:
    """All metrics of a model on a benchmark.

    Retrieval: image_to_text_recall@k and text_to_image_recall@k. Zero-shot: acc@k, mean_per_class_recall.
    """
    texts = (
        [text for captions in benchmark.captions for text in captions]
        if isinstance(benchmark, RetrievalBenchmark)
        else benchmark.prompts()
    )
    images, words = embed(model, benchmark.pictures, texts, runner)
    if isinstance(benchmark, RetrievalBenchmark):
        return recalls(images, words, benchmark.owners)
    classifier = words.reshape(len(benchmark.classes), len(benchmark.templates), -1).mean(axis=1)
    classifier /= np.linalg.norm(classifier, axis=1, keepdims=True)
    return accuracies(images, classifier, benchmark.labels)


def embed(
    model: ModelSource, pictures: Sequence[ByteRange], texts: Sequence[str], runner: Runner
) -> tuple[Embeddings, Embeddings]:
    """Normalised embeddings of pictures, shape (pictures, dim), and texts, shape (texts, dim)."""
    # A text that occurs several times is embedded once, and texts of similar length together, as padding is work too.
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    tasks = [
        EmbedTask(model, at, pictures=tuple(pictures[at : at + _PICTURES_A_TASK]))
        for at in range(0, len(pictures), _PICTURES_A_TASK)
    ] + [
        EmbedTask(model, at, texts=tuple(distinct[at : at + _TEXTS_A_TASK])) for at in range(0, len(distinct), _TEXTS_A_TASK)
    ]  # fmt: skip
    images: dict[int, Embeddings] = {}
    words: dict[int, Embeddings] = {}
    for kind, place, found in runner.run(embed_task, tasks, label="embeddings"):
        (images if kind == "pictures" else words)[place] = found
    by_text = np.concatenate([words[place] for place in sorted(words)])
    places = {text: place for place, text in enumerate(distinct)}
    return np.concatenate([images[place] for place in sorted(images)]), by_text[[places[text] for text in texts]]


def embed_task(task: EmbedTask) -> tuple[str, int, Embeddings]:
    """Runs on a worker."""
    model = load_model(task.model)
    if task.pictures:
        return "pictures", task.place, np.concatenate(list(_pictures(model, task.pictures)))
    found = []
    for at in range(0, len(task.texts), _BATCH):
        stop_if_cancelled()
        found.append(model.embed_texts(task.texts[at : at + _BATCH]))
    return "texts", task.place, np.concatenate(found)


def _pictures(model: ScoredModel, pictures: Sequence[ByteRange]) -> Iterator[Embeddings]:
    """Embeddings batch by batch; the next batch is decoded meanwhile."""

    def load(at: int) -> npt.NDArray[np.float32]:
        part = pictures[at : at + _BATCH]
        return np.stack([model.preprocessing.pixels(decode(read_range(picture))) for picture in part])

    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(load, 0)
        for at in range(0, len(pictures), _BATCH):
            stop_if_cancelled()
            pixels = waiting.result()
            waiting = executor.submit(load, at + _BATCH) if at + _BATCH < len(pictures) else waiting
            yield model.embed_pictures(pixels)


def recalls(images: Embeddings, texts: Embeddings, owners: Sequence[int]) -> dict[str, Estimate]:
    """Recall at 1, 5 and 10, both ways.

    Args:
        images: shape (pictures, dim). texts: shape (captions, dim).
        owners: the picture that each caption belongs to. A picture's hit is any of its captions.

    Ties are counted against us: a caption that scores as high as the right one ranks before it, so that a model which
    gives everything the same score gets 0.
    """
    own = np.asarray(owners)
    image_rank = np.concatenate([_image_ranks(images, texts, own, at) for at in range(0, len(images), _BLOCK)])
    text_rank = np.concatenate([_text_ranks(images, texts, own, at) for at in range(0, len(texts), _BLOCK)])
    return {
        **{f"image_to_text_recall@{k}": share_of(image_rank < k) for k in RECALL_AT},
        **{f"text_to_image_recall@{k}": share_of(text_rank < k, own) for k in RECALL_AT},
    }


def _image_ranks(images: Embeddings, texts: Embeddings, own: npt.NDArray[Any], at: int) -> npt.NDArray[Any]:
    """How many captions of others rank before the best of a picture's own, for a block of pictures."""
    similarity = images[at : at + _BLOCK] @ texts.T
    right = own[None, :] == np.arange(at, at + len(similarity))[:, None]
    best = np.where(right, similarity, -np.inf).max(axis=1)
    ranks: npt.NDArray[Any] = ((similarity >= best[:, None]) & ~right).sum(axis=1)
    return ranks


def _text_ranks(images: Embeddings, texts: Embeddings, own: npt.NDArray[Any], at: int) -> npt.NDArray[Any]:
    """How many pictures rank before a caption's own, for a block of captions."""
    similarity = texts[at : at + _BLOCK] @ images.T
    mine = similarity[np.arange(len(similarity)), own[at : at + _BLOCK]]
    ranks: npt.NDArray[Any] = (similarity >= mine[:, None]).sum(axis=1) - 1
    return ranks


def accuracies(images: Embeddings, classifier: Embeddings, labels: Sequence[int]) -> dict[str, Estimate]:
    """Accuracy at 1 and 5 and mean per class recall.

    Args:
        images: shape (pictures, dim). classifier: shape (classes, dim). labels: class of each picture.
    """
    own = np.asarray(labels)
    similarity = images @ classifier.T
    mine = similarity[np.arange(len(own)), own]
    rank = (similarity >= mine[:, None]).sum(axis=1) - 1
    return {
        **{f"acc@{k}": share_of(rank < k) for k in ACCURACY_AT if k < len(classifier)},
        "mean_per_class_recall": mean_per_class(rank < 1, own),
    }


def share_of(hits: npt.NDArray[np.bool_], clusters: npt.NDArray[np.int64] | None = None, seed: int = 0) -> Estimate:
    """Share of hits, shape (queries,), with its percentile bootstrap interval.

    Args:
        clusters: queries that belong together are drawn together: the captions of one picture are not independent.
    """
    queries = len(hits)
    clusters = np.arange(queries) if clusters is None else clusters
    sums, sizes = np.bincount(clusters, weights=hits), np.bincount(clusters)
    drawn = _draws(len(sums), seed)
    return _estimate(hits.mean(), drawn @ sums / (drawn @ sizes), queries)


def mean_per_class(hits: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64], seed: int = 0) -> Estimate:
    """Mean, over the classes that occur, of the share of hits in each: balanced accuracy."""
    present = np.unique(labels)
    places = np.searchsorted(present, labels)
    value = (np.bincount(places, weights=hits) / np.bincount(places)).mean()
    drawn = np.empty(RESAMPLES)
    for place, counts in enumerate(_draws(len(hits), seed)):
        sizes = np.bincount(places, weights=counts)
        seen = sizes > 0
        drawn[place] = (np.bincount(places, weights=counts * hits)[seen] / sizes[seen]).mean()
    return _estimate(value, drawn, len(hits))


def _draws(count: int, seed: int) -> npt.NDArray[np.int32]:
    """How often each item is drawn in each resample, shape (resamples, count)."""
    random = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLES, count), dtype=np.int32)
    for row in drawn:
        row[:] = np.bincount(random.integers(count, size=count), minlength=count)
    return drawn


def _estimate(value: float, drawn: npt.NDArray[np.float64], queries: int) -> Estimate:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high), queries)
