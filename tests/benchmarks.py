"""Small benchmarks in each layout, and small models to score on them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import torch
from builders import add_member, picture
from training_jobs import CONFIG

from veclip_pipelines.config.model_config import train_tokenizer
from veclip_pipelines.training.embedding import preprocessor_config
from veclip_pipelines.training.model import build_model

NAMES = ("red circle", "blue square", "green bar")


def karpathy(folder: Path, captions: Sequence[Sequence[str]]) -> Path:
    (folder / "images").mkdir(parents=True)
    images = []
    for number, texts in enumerate(captions):
        (folder / "images" / f"{number}.png").write_bytes(picture(number))
        images.append({"filename": f"{number}.png", "split": "test", "sentences": [{"raw": text} for text in texts]})
    images.append({"filename": "not-there.png", "split": "train", "sentences": [{"raw": "x"}]})
    (folder / "dataset.json").write_text(json.dumps({"images": images}))
    return folder


def class_folders(folder: Path, names: Sequence[str] = NAMES, each: int = 4, *, numbered: bool = False) -> Path:
    for label in range(len(names)):
        place = folder / (str(label) if numbered else f"n{label:08d}")
        place.mkdir(parents=True)
        for number in range(each):
            (place / f"{number}.png").write_bytes(picture(label * each + number))
    (folder / "classnames.txt").write_text("\n".join(names))
    (folder / "templates.txt").write_text("a photo of a {c}.\n{}\n")
    return folder


def webdataset(folder: Path, rows: Sequence[tuple[bytes, str]], kind: str, per_shard: int = 100) -> Path:
    """CLIP_benchmark's layout. kind: cls or txt."""
    split = folder / "test"
    split.mkdir(parents=True)
    shards = [rows[at : at + per_shard] for at in range(0, len(rows), per_shard)]
    for number, part in enumerate(shards):
        with tarfile.open(split / f"{number}.tar", "w") as tar:
            for place, (data, text) in enumerate(part):
                key = f"s{number * per_shard + place:07d}"
                add_member(tar, f"{key}.{kind}", text.encode())
                add_member(tar, f"{key}.png", data)
    (split / "nshards.txt").write_text(str(len(shards)))
    if kind == "txt":
        (folder / "dataset_type.txt").write_text("retrieval")
    else:
        (folder / "classnames.txt").write_text("\n".join(NAMES))
        (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nmany of {c}\n")
    return folder


def write_clip(folder: Path, texts: Sequence[str], seed: int = 0) -> Path:
    """A CLIP of random weights as training saves it."""
    tokenizer = train_tokenizer(texts, 300, 16)
    torch.manual_seed(seed)
    build_model(CONFIG, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor_config(16)))
    return folder


def png(image) -> bytes:  # type: ignore[no-untyped-def]
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
