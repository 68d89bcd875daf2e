"""Recall and accuracy by hand, intervals against theory, embeddings against transformers' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import class_folders, karpathy, write_clip
from builders import picture
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

from veclip_pipelines.compute.fanout import HereRunner
from veclip_pipelines.evaluation.benchmarks import open_benchmark
from veclip_pipelines.evaluation.models import ModelSource, load_model
from veclip_pipelines.evaluation.scoring import accuracies, embed, mean_per_class, recalls, score, share_of
from veclip_pipelines.media.pictures import decode


def values(similarity: np.ndarray, owners: list[int]) -> dict[str, float]:
    """Recalls of a matrix: texts are unit vectors, so that pictures hold the similarities."""
    texts = np.eye(similarity.shape[1])
    return {name: found.value for name, found in recalls(similarity, texts, owners).items()}


def test_recall_by_hand() -> None:
    # Three pictures; captions 0 and 1 belong to picture 0, then one each.
    similarity = np.array([[0.1, 0.9, 0.5, 0.2], [0.8, 0.3, 0.4, 0.6], [0.7, 0.2, 0.6, 0.9]])
    result = values(similarity, [0, 0, 1, 2])
    # Picture 0: caption 1 is first. Picture 1: caption 2 is third. Picture 2: caption 3 is first.
    assert result["image_to_text_recall@1"] == pytest.approx(2 / 3)
    assert result["image_to_text_recall@5"] == 1.0
    # Caption 0: picture 0 is last. Caption 1: first. Caption 2: picture 1 is last. Caption 3: first.
    assert result["text_to_image_recall@1"] == pytest.approx(2 / 4)


def test_any_caption_of_a_picture_is_a_hit_and_ties_are_not() -> None:
    assert values(np.array([[0.0, 0.0, 1.0]]), [0, 0, 0])["image_to_text_recall@1"] == 1.0
    assert set(values(np.zeros((20, 20)), list(range(20))).values()) == {0.0}
    assert set(values(np.eye(20), list(range(20))).values()) == {1.0}


def test_recall_in_blocks_is_recall_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from veclip_pipelines.evaluation import scoring

    similarity = np.random.default_rng(0).normal(size=(30, 60))
    owners = [number // 2 for number in range(60)]
    whole = values(similarity, owners)
    monkeypatch.setattr(scoring, "_BLOCK", 7)
    assert values(similarity, owners) == whole


def test_accuracy_by_hand() -> None:
    # Six classes, one picture in each of the first four, two in the fifth; the classifier's rows are unit vectors.
    images = np.array([[6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1], [1, 2, 3, 9, 5, 6], [0, 0, 0, 0, 9, 0],
                       [9, 8, 7, 6, 0, 5]], dtype=float)  # fmt: skip
    found = {name: item.value for name, item in accuracies(images, np.eye(6), [0, 1, 2, 3, 4, 4]).items()}
    assert found["acc@1"] == pytest.approx(3 / 6)
    assert found["acc@5"] == pytest.approx(5 / 6)
    assert found["mean_per_class_recall"] == pytest.approx((1 + 0 + 0 + 1 + 0.5) / 5)


def test_intervals_are_those_of_theory() -> None:
    hits = np.arange(2000) % 10 < 3
    found = share_of(hits)
    error = 1.96 * (0.3 * 0.7 / 2000) ** 0.5
    assert (found.value, found.queries) == (pytest.approx(0.3), 2000)
    assert (found.value - found.low, found.high - found.value) == pytest.approx((error, error), rel=0.15)
    # Five captions that all agree are one witness and not five.
    together = share_of(np.repeat(hits, 5), np.repeat(np.arange(2000), 5))
    assert together.high - together.low == pytest.approx(found.high - found.low, rel=0.1)
    balanced = mean_per_class(hits, np.arange(2000) % 4)
    assert balanced.value == pytest.approx(0.3, abs=0.01)
    assert balanced.low < balanced.value < balanced.high
    assert share_of(hits) == found


def test_scores_are_those_of_transformers(tmp_path: Path) -> None:
    captions = [["a red circle", "red"], ["a blue square"], ["green"], ["red"]]
    folder = write_clip(tmp_path / "model", [text for texts in captions for text in texts])
    benchmark = open_benchmark(karpathy(tmp_path / "b", captions))
    flat = [text for texts in captions for text in texts]
    images, texts = embed(ModelSource(str(folder)), benchmark.pictures, flat, HereRunner())
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(
        images=[decode(picture(n)) for n in range(4)], return_tensors="pt"
    )
    encoded = tokenizer(flat, padding=True, return_tensors="pt")
    with torch.inference_mode():
        output = model(
            pixel_values=pixels["pixel_values"],
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
        )
    assert np.allclose(images, output.image_embeds.numpy(), atol=1e-5)
    assert np.allclose(texts, output.text_embeds.numpy(), atol=1e-5)
    found = score(ModelSource(str(folder)), benchmark, HereRunner())
    assert found == recalls(images, texts, [0, 0, 1, 2, 3])
    assert found["text_to_image_recall@1"].queries == 5


def test_zero_shot_means_the_templates(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "model", ["a photo of a red circle"])
    benchmark = open_benchmark(class_folders(tmp_path / "b"))
    found = score(ModelSource(str(folder)), benchmark, HereRunner())
    assert set(found) == {"acc@1", "mean_per_class_recall"}  # of three classes, five are all
    model = load_model(ModelSource(str(folder)))
    words = model.embed_texts(benchmark.prompts()).reshape(3, 2, -1).mean(axis=1)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    images, _ = embed(ModelSource(str(folder)), benchmark.pictures, ["x"], HereRunner())
    expected = ((images @ words.T).argmax(axis=1) == np.array(benchmark.labels)).mean()
    assert found["acc@1"].value == pytest.approx(expected)
