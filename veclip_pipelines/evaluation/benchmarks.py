"""Benchmarks: pictures with what is asked of them, whatever layout they come in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation.picture_hashes import Fingerprints, fingerprints
from veclip_pipelines.media.shards import ByteRange

#: Where a benchmark has no templates of its own.
DEFAULT_TEMPLATE = "a photo of a {c}."


@dataclass(frozen=True)
class Benchmark:
    """What all benchmarks have.

    Attributes:
        pictures: where each picture's bytes are.
    """

    name: str
    pictures: tuple[ByteRange, ...]

    @property
    def texts_read(self) -> list[object]:
        """All that is asked, as JSON takes it: a part of what a score was measured on."""
        raise NotImplementedError

    def fingerprints(self, home: Path) -> Fingerprints:
        """SHA-256 and perceptual hash of each picture, kept in the home for as long as the files are as they were."""
        return fingerprints(self.name, self.pictures, home)

    def sha256(self, home: Path) -> str:
        """Hash over pictures and texts: what a score was measured on."""
        parts = [*self.fingerprints(home).sha256, json.dumps(self.texts_read)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class RetrievalBenchmark(Benchmark):
    """Pictures and their captions; all captions of a picture count, and a hit is any of them (Karpathy's protocol).

    Attributes:
        captions: of each picture, one or more.
    """

    captions: tuple[tuple[str, ...], ...]

    @property
    def texts_read(self) -> list[object]:
        return [list(texts) for texts in self.captions]

    @cached_property
    def owners(self) -> list[int]:
        """The picture of each caption."""
        return [index for index, captions in enumerate(self.captions) for _ in captions]


@dataclass(frozen=True)
class ZeroShotBenchmark(Benchmark):
    """Pictures and their class.

    Attributes:
        labels: number of each picture's class.
        classes: name of each class.
        templates: sentences that a name is put into at ``{c}``.
    """

    labels: tuple[int, ...]
    classes: tuple[str, ...]
    templates: tuple[str, ...]

    @property
    def texts_read(self) -> list[object]:
        return [list(self.labels), list(self.classes), list(self.templates)]

    def prompts(self) -> list[str]:
        """Each class's name in each template: class by class."""
        return [template.replace("{c}", name) for name in self.classes for template in self.templates]


@dataclass(frozen=True)
class Layout:
    """A way in which benchmarks come: how a folder is told to be of it, and how it is read."""

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, str], RetrievalBenchmark | ZeroShotBenchmark]


def layouts() -> tuple[Layout, ...]:
    """All layouts, in the order in which a folder is looked at."""
    from veclip_pipelines.evaluation import image_folders, karpathy, wds_layout

    return (
        Layout(
            "Karpathy's dataset.json with pictures in images/ (COCO, Flickr30k)", karpathy.recognises, karpathy.read
        ),
        Layout("CLIP_benchmark's webdataset (test/nshards.txt)", wds_layout.recognises, wds_layout.read),
        Layout(
            "a folder for each class with classnames.txt (ImageNet, V2)", image_folders.recognises, image_folders.read
        ),
    )


def open_benchmark(folder: Path, split: str = "test") -> RetrievalBenchmark | ZeroShotBenchmark:
    """Reads a benchmark.

    Raises:
        UsageError: the folder is in no known layout, a picture is missing, or the split is empty.
    """
    for layout in layouts():
        if layout.recognises(folder):
            return layout.read(folder, split)
    known = "; ".join(layout.name for layout in layouts())
    raise UsageError(f"{folder} is no benchmark in a layout that is known: {known}.")


def benchmark_folders(root: Path, wanted: Literal["all"] | Sequence[str]) -> list[Path]:
    """The folders of the benchmarks that a recipe asks for.

    Raises:
        UsageError: there is none at all.
    """
    if wanted != "all":
        return [root / name for name in wanted]
    folders = sorted(path for path in root.glob("*") if path.is_dir() and not path.name.startswith("."))
    found = [path for path in folders if any(layout.recognises(path) for layout in layouts())]
    if not found:
        raise UsageError(
            f"there is no benchmark in {root}: put folders there, each {' or '.join(layout.name for layout in layouts())}. "
            "veclip demo writes a small one."
        )
    return found


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
    """The templates of the first file that is there, their place for the name written ``{c}``; a default where none is."""
    for path in paths:
        if path.is_file():
            found = tuple(line.replace("{}", "{c}") for line in lines_of(path))
            if faulty := [line for line in found if "{c}" not in line]:
                raise UsageError(f"{path}: template {faulty[0]!r} has no place for the class's name, {{c}}.")
            return found
    return (DEFAULT_TEMPLATE,)
