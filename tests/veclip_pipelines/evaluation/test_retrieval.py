"""Recall by hand, the benchmark's layout, and embeddings against transformers' own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import picture
from transformers import CLIPModel

from veclip_pipelines.embedding import pixels_of
from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation.karpathy import benchmark_folders, read_benchmark
from veclip_pipelines.evaluation.retrieval import ScoreTask, embed, recalls, score_checkpoint
from veclip_pipelines.pictures import decode
from veclip_pipelines.recipe import ModelSettings
from veclip_pipelines.training.model import build_model, train_tokenizer

SMALL = ModelSettings(
    image_size=16, patch_size=8, width=16, layers=1, heads=2, embedding_size=8, context_length=16, vocabulary_size=300
)


def benchmark(folder: Path, captions: list[list[str]]) -> Path:
    (folder / "images").mkdir(parents=True)
    images = []
    for number, texts in enumerate(captions):
        (folder / "images" / f"{number}.png").write_bytes(picture(number))
        images.append({"filename": f"{number}.png", "split": "test", "sentences": [{"raw": text} for text in texts]})
    images.append({"filename": "not-there.png", "split": "train", "sentences": [{"raw": "x"}]})
    (folder / "dataset.json").write_text(json.dumps({"images": images}))
    return folder


def test_recall_by_hand() -> None:
    # Three pictures; captions 0 and 1 belong to picture 0, then one each.
    similarity = np.array([[0.1, 0.9, 0.5, 0.2], [0.8, 0.3, 0.4, 0.6], [0.7, 0.2, 0.6, 0.9]])
    result = recalls(similarity, [0, 0, 1, 2])
    # Picture 0: its caption 1 is first. Picture 1: caption 2 is third. Picture 2: caption 3 is first.
    assert result["image_to_text_recall@1"] == pytest.approx(2 / 3)
    assert result["image_to_text_recall@5"] == 1.0
    # Caption 0: picture 0 is last. Caption 1: first. Caption 2: picture 1 is last. Caption 3: first.
    assert result["text_to_image_recall@1"] == pytest.approx(2 / 4)


def test_any_caption_of_a_picture_is_a_hit_and_ties_are_not() -> None:
    assert recalls(np.array([[0.0, 0.0, 1.0]]), [0, 0, 0])["image_to_text_recall@1"] == 1.0
    flat = recalls(np.zeros((20, 20)), list(range(20)))
    assert set(flat.values()) == {0.0}
    perfect = recalls(np.eye(20), list(range(20)))
    assert set(perfect.values()) == {1.0}


def test_a_benchmark_is_read_by_its_split(tmp_path: Path) -> None:
    read = read_benchmark(benchmark(tmp_path / "b", [["one", "uno"], ["two"]]))
    assert (read.name, read.captions) == ("b", (("one", "uno"), ("two",)))
    again = read_benchmark(benchmark(tmp_path / "c", [["one", "uno"], ["deux"]]))
    assert read.sha256 != again.sha256


def test_all_benchmarks_are_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no benchmark in"):
        benchmark_folders(tmp_path, "all")
    for name in ("b", "a"):
        benchmark(tmp_path / name, [["one"]])
    (tmp_path / "notes").mkdir()
    assert [folder.name for folder in benchmark_folders(tmp_path, "all")] == ["a", "b"]
    assert benchmark_folders(tmp_path, ("x",)) == [tmp_path / "x"]


def test_faults_of_a_benchmark_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no dataset\.json"):
        read_benchmark(tmp_path)
    folder = benchmark(tmp_path / "b", [["one"]])
    (folder / "images" / "0.png").unlink()
    with pytest.raises(UsageError, match="is missing"):
        read_benchmark(folder)
    (folder / "dataset.json").write_text('{"images": [{"filename": 1}]}')
    with pytest.raises(UsageError, match="not in Karpathy's layout"):
        read_benchmark(folder)
    (folder / "dataset.json").write_text('{"images": []}')
    with pytest.raises(UsageError, match="has no picture"):
        read_benchmark(folder)


def test_embeddings_and_scores_are_those_of_the_model(tmp_path: Path) -> None:
    captions = [["a red circle", "red"], ["a blue square"], ["green"]]
    tokenizer = train_tokenizer([text for texts in captions for text in texts], SMALL)
    torch.manual_seed(0)
    build_model(SMALL, tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    folder = benchmark(tmp_path / "b", captions)
    images, texts, owners = embed(tmp_path / "model", read_benchmark(folder))
    assert owners == [0, 0, 1, 2]
    model = CLIPModel.from_pretrained(tmp_path / "model").eval()
    pixels = torch.from_numpy(np.stack([pixels_of(decode(picture(n)), 16) for n in range(3)]))
    encoded = tokenizer([text for group in captions for text in group], padding=True, return_tensors="pt")
    with torch.inference_mode():
        output = model(pixel_values=pixels, input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
    assert np.allclose(images, output.image_embeds.numpy(), atol=1e-5)
    assert np.allclose(texts, output.text_embeds.numpy(), atol=1e-5)
    rows = score_checkpoint(ScoreTask("c", "r", tmp_path / "model", folder, "run"))
    assert {row["metric"]: row["value"] for row in rows} == recalls(images @ texts.T, owners)
    assert {row["metric"]: row["queries"] for row in rows}["text_to_image_recall@1"] == 4


def test_pixels_are_clips_own(tmp_path: Path) -> None:
    from transformers import CLIPImageProcessorPil

    image = decode(picture(4, (90, 61)))
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    expected = processor(images=image, return_tensors="np")["pixel_values"][0]
    assert np.abs(pixels_of(image, 32) - expected).max() < 0.05
