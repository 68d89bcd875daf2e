"""Writes the experiment's crawl drops and benchmarks. Scenes of different parts have different numbers, so no part shares a scene
with another."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from veclip_pipelines.experiment.alttexts import alt_text
from veclip_pipelines.experiment.captioner import TAUGHT
from veclip_pipelines.experiment.scenes import MOTIFS, picture, scene
from veclip_pipelines.media.storage import whole_folder

RETRIEVAL, NAMES = "scenes-retrieval", "scenes-names"
#: Crawl partitions: the smaller data size is the first, the larger both; and the captioner's own training pictures.
FIRST, MORE, OF_CAPTIONER = "scenes-1", "scenes-2", "scenes-of-captioner"
_PER_SHARD = 1_000
_RETRIEVAL_FROM, _NAMES_FROM = 8_000_000, 9_000_000
_TEMPLATES = ("a picture of {c}", "{c}", "the {c} emblem", "{c} print")


@dataclass(frozen=True)
class Sizes:
    """Numbers of pictures: in the smaller crawl, in the larger one's additional part, in the captioner's part, in each benchmark."""

    first: int = 2_500
    more: int = 7_500
    of_captioner: int = 6_000
    benchmark: int = 1_000

    @classmethod
    def small(cls) -> Sizes:
        """For the short version, of a few minutes."""
        return cls(first=600, more=0, of_captioner=300, benchmark=200)


def write_crawl(folder: Path, sizes: Sizes) -> list[Path]:
    """Writes the drops that are not there yet, as webdataset tars; each appears under its name when it is complete."""
    drops = [
        (FIRST, range(sizes.first), False),
        (MORE, range(1_000_000, 1_000_000 + sizes.more), False),
        # In the control with the captioner's training pictures, these have the captions that it was trained on.
        (OF_CAPTIONER, TAUGHT[: sizes.of_captioner], True),
    ]
    return [_write_drop(folder / name, numbers, true_captions=true) for name, numbers, true in drops if len(numbers)]


def _write_drop(target: Path, numbers: Iterable[int], *, true_captions: bool) -> Path:
    if target.is_dir():
        return target
    scenes = [scene(number) for number in numbers]
    with whole_folder(target) as scratch:
        for shard, start in enumerate(range(0, len(scenes), _PER_SHARD)):
            with tarfile.open(scratch / f"{shard:05d}.tar", "w") as tar:
                for shown in scenes[start : start + _PER_SHARD]:
                    text, kind = (shown.caption(), "caption") if true_captions else alt_text(shown)
                    key = f"{shown.number:09d}"
                    facts = {"url": f"https://scenes.example/{key}.jpg", "kind": kind}
                    _add(tar, f"{key}.jpg", picture(shown))
                    _add(tar, f"{key}.txt", text.encode())
                    _add(tar, f"{key}.json", json.dumps(facts).encode())
    return target


def write_benchmarks(folder: Path, sizes: Sizes) -> list[Path]:
    """Writes the two held-out benchmarks: true captions in Karpathy's layout, and names as a folder for each motif."""
    made = []
    for name, write in ((RETRIEVAL, _write_retrieval), (NAMES, _write_names)):
        if not (folder / name).is_dir():
            with whole_folder(folder / name) as scratch:
                write(scratch, sizes.benchmark)
        made.append(folder / name)
    return made


def _write_retrieval(folder: Path, count: int) -> None:
    (folder / "images").mkdir()
    images: list[dict[str, object]] = []
    seen: set[str] = set()
    number = _RETRIEVAL_FROM
    while len(images) < count:
        shown = scene(number)
        number += 1
        if shown.caption() in seen:  # two pictures with the same caption have no right answer
            continue
        seen.add(shown.caption())
        name = f"{shown.number}.jpg"
        (folder / "images" / name).write_bytes(picture(shown))
        images.append({"filename": name, "split": "test", "sentences": [{"raw": shown.caption()}]})
    (folder / "dataset.json").write_text(json.dumps({"dataset": RETRIEVAL, "images": images}, indent=1), "utf-8")


def _write_names(folder: Path, count: int) -> None:
    names = sorted(MOTIFS)
    places = {name: folder / f"{label:02d}" for label, name in enumerate(names)}
    for place in places.values():
        place.mkdir()
    for shown in map(scene, range(_NAMES_FROM, _NAMES_FROM + count)):
        (places[shown.motif] / f"{shown.number}.jpg").write_bytes(picture(shown))
    (folder / "classnames.txt").write_text("\n".join(names), "utf-8")
    (folder / "templates.txt").write_text("\n".join(_TEMPLATES), "utf-8")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
