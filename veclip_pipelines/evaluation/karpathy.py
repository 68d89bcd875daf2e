"""Retrieval benchmarks in Karpathy's layout, as COCO and Flickr30k come: dataset.json and a folder of pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from veclip_pipelines.errors import UsageError


@dataclass(frozen=True)
class RetrievalBenchmark:
    """Pictures and their captions; all captions of a picture count, and a hit is any of them.

    Attributes:
        pictures: file of each picture.
        captions: captions of each picture, one or more.
        sha256: hash over pictures and captions: what a score was measured on.
    """

    name: str
    pictures: tuple[Path, ...]
    captions: tuple[tuple[str, ...], ...]
    sha256: str


def benchmark_folders(root: Path, wanted: Literal["all"] | Sequence[str]) -> list[Path]:
    """The folders of the benchmarks that a recipe asks for.

    Raises:
        UsageError: there is none at all.
    """
    if wanted != "all":
        return [root / name for name in wanted]
    found = sorted(path.parent for path in root.glob("*/dataset.json"))
    if not found:
        raise UsageError(
            f"there is no benchmark in {root}: put a folder there with dataset.json in Karpathy's layout (COCO, Flickr30k) "
            "and its pictures in images/. veclip demo writes a small one."
        )
    return found


def read_benchmark(folder: Path, split: str = "test") -> RetrievalBenchmark:
    """Reads one split.

    Raises:
        UsageError: the folder is no such benchmark, a picture is missing, or the split is empty.
    """
    index = folder / "dataset.json"
    if not index.is_file():
        raise UsageError(
            f"{folder} is no retrieval benchmark: it has no dataset.json (Karpathy's layout, with a folder images/)."
        )
    try:
        images = json.loads(index.read_text("utf-8"))["images"]
        entries = [image for image in images if image.get("split", split) == split]
        pictures = tuple(folder / "images" / image.get("filepath", "") / image["filename"] for image in entries)
        captions = tuple(tuple(str(sentence["raw"]) for sentence in image["sentences"]) for image in entries)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{index} is not in Karpathy's layout: {type(error).__name__}: {error}") from error
    if not pictures or not all(captions):
        raise UsageError(f"{index}: split {split!r} has no picture, or a picture without a caption.")
    digest = hashlib.sha256()
    for picture, texts in zip(pictures, captions, strict=True):
        if not picture.is_file():
            raise UsageError(f"benchmark {folder.name!r}: picture {picture} is missing.")
        digest.update(hashlib.sha256(picture.read_bytes()).digest() + json.dumps(texts).encode())
    return RetrievalBenchmark(folder.name, pictures, captions, digest.hexdigest())
