"""The layouts that published benchmarks come in: how each is recognised, and how it is read.

- Karpathy's, as COCO and Flickr30k come: dataset.json and a folder of pictures.
- CLIP_benchmark's webdataset, in which VTAB and many others are published: a split's folder has nshards.txt and 0.tar, 1.tar, …;
  a sample is a picture with .cls (number of its class) or .txt (captions, one a line); class names and templates are files beside
  the splits.
- ImageNet's and ImageNet-V2's: a folder for each class, the class names in a file beside them. Class i is the i-th folder: by
  number where all are numbers (ImageNet-V2), else by name (WordNet ids).
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation.benchmark_kinds import RetrievalBenchmark, ZeroShotBenchmark
from veclip_pipelines.media.shards import ByteRange

#: Where a benchmark has no templates of its own.
DEFAULT_TEMPLATE = "a photo of a {c}."
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
_CLASS_NAMES, _TEMPLATES = "classnames.txt", ("templates.txt", "zeroshot_classification_templates.txt")
_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
_SHARDS = "nshards.txt"


@dataclass(frozen=True)
class Layout:
    """A layout: how a folder in it is recognised, and how it is read."""

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, str], RetrievalBenchmark | ZeroShotBenchmark]


def _is_karpathy(folder: Path) -> bool:
    return _dataset_json(folder) is not None


def _dataset_json(folder: Path) -> Path | None:
    """dataset.json, or dataset_coco.json and dataset_flickr30k.json as they are published."""
    return next(iter(sorted([*folder.glob("dataset.json"), *folder.glob("dataset_*.json")])), None)


def _read_karpathy(folder: Path, split: str) -> RetrievalBenchmark:
    """Reads one split; each picture with all of its captions.

    Raises:
        UsageError: the folder is no such benchmark, a picture is missing, or the split is empty.
    """
    index = _dataset_json(folder)
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


def _is_webdataset(folder: Path) -> bool:
    return any(folder.glob(f"*/{_SHARDS}"))


def _read_webdataset(folder: Path, split: str) -> RetrievalBenchmark | ZeroShotBenchmark:
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
    samples = [sample for number in range(int(count[0])) for sample in _shard_samples(place / f"{number}.tar")]
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


def _shard_samples(shard: Path) -> Iterator[tuple[ByteRange, str | None, str]]:
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
                picture = next((members[name] for name in _EXTENSIONS if name in members), None)
                if picture is None:
                    raise UsageError(f"{shard}: sample {key} has no picture.")
                label = text(members["cls"]).strip() if "cls" in members else None
                captions = text(members["txt"]) if "txt" in members else ""
                yield ByteRange(str(shard), picture.offset_data, picture.size), label, captions
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        raise UsageError(f"{shard} of a benchmark cannot be read: {error}") from error


def _is_class_folders(folder: Path) -> bool:
    return (folder / _CLASS_NAMES).is_file() and bool(_class_folders(folder))


def _class_folders(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if all(path.name.isdecimal() for path in found):
        return sorted(found, key=lambda path: int(path.name))
    return sorted(found)


def _read_class_folders(folder: Path, split: str) -> ZeroShotBenchmark:
    """Reads all pictures of all class folders, or of those in a folder named by the split.

    Raises:
        UsageError: there are not as many names as folders, or no pictures.
    """
    root = folder / split if (folder / split).is_dir() else folder
    classes, names = _class_folders(root), lines_of(folder / _CLASS_NAMES)
    if len(classes) != len(names):
        raise UsageError(f"{folder} has {len(classes)} class folders and {len(names)} names in {_CLASS_NAMES}.")
    found = [
        (whole_file(path), label)
        for label, place in enumerate(classes)
        for path in sorted(place.iterdir())
        if path.suffix.lower() in _SUFFIXES
    ]
    if not found:
        raise UsageError(f"{folder} has no pictures in its class folders.")
    return ZeroShotBenchmark(
        folder.name,
        tuple(picture for picture, _ in found),
        tuple(label for _, label in found),
        tuple(names),
        templates_of([folder / name for name in _TEMPLATES]),
    )


def whole_file(path: Path) -> ByteRange:
    """A picture that is a file. Raises UsageError where it is missing."""
    try:
        return ByteRange(str(path), 0, path.stat().st_size)
    except OSError as error:
        raise UsageError(f"picture {path} of a benchmark is missing.") from error


def lines_of(path: Path) -> list[str]:
    """The lines of a text file, without empty ones. Raises UsageError where it cannot be read."""
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def templates_of(paths: Sequence[Path]) -> tuple[str, ...]:
    """The templates of the first file that exists, with ``{c}`` where the name goes; a default where none does."""
    for path in paths:
        if path.is_file():
            found = tuple(line.replace("{}", "{c}") for line in lines_of(path))
            if faulty := [line for line in found if "{c}" not in line]:
                raise UsageError(f"{path}: template {faulty[0]!r} has no place for the class's name, {{c}}.")
            return found
    return (DEFAULT_TEMPLATE,)


#: All layouts, in the order in which a folder is tried against them.
LAYOUTS = (
    Layout("Karpathy's dataset.json with pictures in images/ (COCO, Flickr30k)", _is_karpathy, _read_karpathy),
    Layout("CLIP_benchmark's webdataset (test/nshards.txt)", _is_webdataset, _read_webdataset),
    Layout("a folder for each class with classnames.txt (ImageNet, V2)", _is_class_folders, _read_class_folders),
)
