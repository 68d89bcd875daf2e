"""Zero-shot benchmarks as ImageNet and ImageNet-V2 come: a folder for each class, the class names in a file beside them.

Class i is the i-th folder: by number where all are numbers (ImageNet-V2), else by name (WordNet ids).
"""

from __future__ import annotations

from pathlib import Path

from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation.benchmarks import ZeroShotBenchmark, lines_of, templates_of, whole_file

_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"}
_NAMES, _TEMPLATES = "classnames.txt", ("templates.txt", "zeroshot_classification_templates.txt")


def recognises(folder: Path) -> bool:
    return (folder / _NAMES).is_file() and bool(_classes(folder))


def _classes(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if all(path.name.isdecimal() for path in found):
        return sorted(found, key=lambda path: int(path.name))
    return sorted(found)


def read(folder: Path, split: str) -> ZeroShotBenchmark:
    """Reads all pictures of all class folders, or of those in a folder named by the split.

    Raises:
        UsageError: there are not as many names as folders, or no pictures.
    """
    root = folder / split if (folder / split).is_dir() else folder
    classes, names = _classes(root), lines_of(folder / _NAMES)
    if len(classes) != len(names):
        raise UsageError(f"{folder} has {len(classes)} class folders and {len(names)} names in {_NAMES}.")
    found = [
        (whole_file(path), label)
        for label, place in enumerate(classes)
        for path in sorted(place.iterdir())
        if path.suffix.lower() in _PICTURES
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
