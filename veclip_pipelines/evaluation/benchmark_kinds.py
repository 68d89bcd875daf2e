"""The kinds of benchmarks: retrieval (which caption, which picture) and zero-shot classification (which class)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from veclip_pipelines.evaluation.picture_hashes import Fingerprints, fingerprints
from veclip_pipelines.media.shards import ByteRange


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
        """All texts of the benchmark, in a form that JSON takes: a part of what a score was measured on."""
        raise NotImplementedError

    def fingerprints(self, home: Path) -> Fingerprints:
        """SHA-256 and perceptual hash of each picture, cached in the home until the files change."""
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
