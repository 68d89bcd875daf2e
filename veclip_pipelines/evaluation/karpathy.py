"""Retrieval benchmarks in Karpathy's layout, as COCO and Flickr30k come: dataset.json and a folder of pictures."""

from __future__ import annotations

import json
from pathlib import Path

from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation.benchmarks import RetrievalBenchmark, whole_file


def recognises(folder: Path) -> bool:
    return _index(folder) is not None


def _index(folder: Path) -> Path | None:
    """dataset.json, or dataset_coco.json and dataset_flickr30k.json as they are published."""
    return next(iter(sorted([*folder.glob("dataset.json"), *folder.glob("dataset_*.json")])), None)


def read(folder: Path, split: str) -> RetrievalBenchmark:
    """Reads one split; each picture with all of its captions.

    Raises:
        UsageError: the folder is no such benchmark, a picture is missing, or the split is empty.
    """
    index = _index(folder)
    if index is None:
        raise UsageError(f"{folder} has no dataset.json in Karpathy's layout.")
    try:
        images = json.loads(index.read_text("utf-8"))["images"]
        entries = [image for image in images if image.get("split", split) == split]
        names = [Path(image.get("filepath", "")) / image["filename"] for image in entries]
        captions = tuple(tuple(str(sentence["raw"]) for sentence in image["sentences"]) for image in entries)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{index} is not in Karpathy's layout: {type(error).__name__}: {error}") from error
    if not names or not all(captions):
        raise UsageError(f"{index}: split {split!r} has no picture, or a picture without a caption.")
    root = folder / "images" if (folder / "images").is_dir() else folder
    return RetrievalBenchmark(folder.name, tuple(whole_file(root / name) for name in names), captions)
