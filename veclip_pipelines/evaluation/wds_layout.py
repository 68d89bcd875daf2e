"""Benchmarks in CLIP_benchmark's webdataset layout, in which VTAB and many others are published.

A split's folder has nshards.txt and 0.tar, 1.tar, …; a sample is a picture with .cls (number of its class) or .txt (captions,
one a line); class names and templates are files beside the splits.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation.benchmarks import (
    RetrievalBenchmark,
    ZeroShotBenchmark,
    lines_of,
    templates_of,
)
from veclip_pipelines.media.shards import ByteRange

_PICTURES = ("jpg", "jpeg", "png", "webp")
_SHARDS = "nshards.txt"


def recognises(folder: Path) -> bool:
    return any(folder.glob(f"*/{_SHARDS}"))


def read(folder: Path, split: str) -> RetrievalBenchmark | ZeroShotBenchmark:
    """Reads one split; the pictures stay in their tars.

    Raises:
        UsageError: the split, a shard or a sample's text is missing.
    """
    place = folder / split
    if not (place / _SHARDS).is_file():
        present = ", ".join(sorted(path.parent.name for path in folder.glob(f"*/{_SHARDS}")))
        raise UsageError(f"{folder} has no split {split!r}; it has {present}.")
    count = lines_of(place / _SHARDS)
    if len(count) != 1 or not count[0].isdecimal():
        raise UsageError(f"{place / _SHARDS} holds no number of shards.")
    samples = [sample for number in range(int(count[0])) for sample in _samples(place / f"{number}.tar")]
    if not samples:
        raise UsageError(f"{place} has no samples.")
    pictures = tuple(picture for picture, _, _ in samples)
    kind = folder / "dataset_type.txt"
    retrieval = kind.is_file() and lines_of(kind) == ["retrieval"]
    if retrieval or all(label is None for _, label, _ in samples):
        captions = tuple(tuple(line for line in text.splitlines() if line.strip()) for _, _, text in samples)
        if not all(captions):
            raise UsageError(f"{place}: a picture has no caption.")
        return RetrievalBenchmark(folder.name, pictures, captions)
    if any(label is None for _, label, _ in samples):
        raise UsageError(f"{place}: a picture has no class.")
    names = tuple(lines_of(folder / "classnames.txt"))
    labels = tuple(int(label) for _, label, _ in samples if label is not None)
    if max(labels) >= len(names) or min(labels) < 0:
        raise UsageError(f"{place}: a picture is of class {max(labels)}, and classnames.txt has {len(names)} names.")
    return ZeroShotBenchmark(
        folder.name, pictures, labels, names, templates_of([folder / "zeroshot_classification_templates.txt"])
    )


def _samples(shard: Path) -> Iterator[tuple[ByteRange, str | None, str]]:
    """Picture, class and captions of each sample of a shard, in its order."""
    found: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(shard, "r:") as tar, shard.open("rb") as file:
            for member in tar:
                if member.isreg():
                    key, _, extension = member.name.partition(".")
                    found.setdefault(key, {})[extension.lower()] = member

            def text(member: tarfile.TarInfo) -> str:
                file.seek(member.offset_data)
                return file.read(member.size).decode("utf-8")

            for key, members in found.items():
                picture = next((members[name] for name in _PICTURES if name in members), None)
                if picture is None:
                    raise UsageError(f"{shard}: sample {key} has no picture.")
                label = text(members["cls"]).strip() if "cls" in members else None
                captions = text(members["txt"]) if "txt" in members else ""
                yield ByteRange(str(shard), picture.offset_data, picture.size), label, captions
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        raise UsageError(f"{shard} of a benchmark cannot be read: {error}") from error
