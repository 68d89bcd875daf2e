"""The paper's effect once on real pictures: trained on Open Clip Art, scored on Tux Paint's stamps, with the missing control.

``python -m bench.real_pictures DEBS HOME`` takes the unpacked Debian packages openclipart-png, openclipart-svg (their titles are the
AltText) and tuxpaint-stamps-default, and an empty VECLIP_HOME with the demo's models; all that follows is the ordinary graph.
The captioner is the embedded tagger, which has seen neither; the control trains on the other half of Tux Paint directly.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from PIL import Image

from veclip_pipelines.experiment.design import Run
from veclip_pipelines.experiment.findings import Key, compare, markdown, means
from veclip_pipelines.experiment.write_up import scores_of
from veclip_pipelines.media.pictures import PictureError, decode
from veclip_pipelines.tables.warehouse import Warehouse

CRAWL, HALF, BENCHMARK = "open-clip-art", "tux-paint-half", "tux-paint"
_SIDE, _PER_SHARD = 160, 1_000
_ARMS = ("alttext", "vecap", "mixed", "taught")
_SEEDS = (0, 1, 2)
_METRICS: dict[str, Key] = {
    f"{short} R@{k}": (BENCHMARK, f"{long}_recall@{k}")
    for short, long in (("I2T", "image_to_text"), ("T2I", "text_to_image"))
    for k in (1, 10)
}
_RESULTS = Path(__file__).parent / "results" / "real-pictures"


def clip_art(packages: Path) -> Iterator[tuple[bytes, str]]:
    """Pictures with their uploaders' titles; where there is none, the file's name, as a crawl has it."""
    root = packages / "usr" / "share" / "openclipart"
    for path in sorted((root / "png").rglob("*.png")):
        drawing = root / "svg" / path.relative_to(root / "png").with_suffix(".svg")
        found = re.search(r"<dc:title>([^<]+)", drawing.read_text("utf-8", "replace")) if drawing.exists() else None
        title = html.unescape(found.group(1)).strip() if found else ""
        if (data := _shrunk(path)) is not None:
            yield data, title or path.name


def stamps(packages: Path) -> Iterator[tuple[bytes, str]]:
    """Tux Paint's pictures with their English sentences, each sentence once."""
    seen = set()
    for path in sorted((packages / "usr" / "share" / "tuxpaint" / "stamps").rglob("*.png")):
        told = path.with_suffix(".txt")
        sentence = told.read_text("utf-8", "replace").splitlines()[0].strip() if told.exists() else ""
        if sentence and sentence not in seen and (data := _shrunk(path)) is not None:
            seen.add(sentence)
            yield data, sentence


def _shrunk(path: Path) -> bytes | None:
    """The picture in the middle of a white square, as a JPEG."""
    try:
        image = decode(path.read_bytes())
    except PictureError:
        return None
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    square = Image.new("RGB", (_SIDE, _SIDE), "white")
    square.paste(image, ((_SIDE - image.width) // 2, (_SIDE - image.height) // 2))
    buffer = io.BytesIO()
    square.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _is_held_out(sentence: str) -> bool:
    return hashlib.sha256(sentence.encode()).digest()[0] % 2 == 0


def write_drop(folder: Path, pairs: Iterable[tuple[bytes, str]]) -> int:
    """A webdataset drop; how many samples it has."""
    folder.mkdir(parents=True)
    rows = list(pairs)
    for shard, start in enumerate(range(0, len(rows), _PER_SHARD)):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for number, (data, text) in enumerate(rows[start : start + _PER_SHARD], start):
                meta = json.dumps({"url": f"https://{folder.name}.example/{number}.jpg"})
                for ending, body in (("jpg", data), ("txt", text.encode()), ("json", meta.encode())):
                    member = tarfile.TarInfo(f"{number:08d}.{ending}")
                    member.size = len(body)
                    tar.addfile(member, io.BytesIO(body))
    return len(rows)


def write_benchmark(folder: Path, pairs: Iterable[tuple[bytes, str]]) -> int:
    """A retrieval benchmark in Karpathy's layout; how many pictures it has."""
    (folder / "images").mkdir(parents=True)
    images = []
    for number, (data, sentence) in enumerate(pairs):
        name = f"{number:04d}.jpg"
        (folder / "images" / name).write_bytes(data)
        images.append({"filename": name, "split": "test", "sentences": [{"raw": sentence}]})
    (folder / "dataset.json").write_text(json.dumps({"dataset": folder.name, "images": images}), "utf-8")
    return len(images)


def recipe_of(run: Run) -> dict[str, object]:
    """A run as a recipe file has it."""
    alt = {"source": "alt_text"}
    vecap = {"source": "vecap", "engine": "template", "concept_engine": "tagger"}
    texts = {"alttext": [alt], "vecap": [vecap], "mixed": [alt, vecap], "taught": [alt]}[run.arm]
    recipe: dict[str, object] = {
        "name": run.recipe,
        "description": f"Real pictures: {run.arm}, seed {run.seed}.",
        "crawl_partitions": [CRAWL],
        "filters": {"near_duplicates": "one"},
        "texts": [{**text, "probability": 1 / len(texts)} for text in texts],
        "model": {"config": "scenes", "vocabulary_size": 4000},
        "training": {"steps": 400, "batch_size": 128, "learning_rate": 4e-4, "warmup_steps": 40, "seed": run.seed},
        "benchmarks": [BENCHMARK],
    }
    if run.arm == "taught":
        recipe["datasets"] = [{"name": "tux", "crawl_partitions": [HALF]}]
    return recipe


def main(packages: Path, home: Path) -> None:
    """Makes drops and benchmark, runs the graph, writes bench/results/real-pictures/."""
    environment = {**os.environ, "VECLIP_HOME": str(home)}

    def veclip(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "veclip_pipelines.cli", *arguments], check=True, env=environment)

    runs = [Run(arm, "all", seed, prefix="real-") for seed in _SEEDS for arm in _ARMS]
    if not (home / "drops" / CRAWL).exists():
        held_out, taught = [], []
        for pair in stamps(packages):
            (held_out if _is_held_out(pair[1]) else taught).append(pair)
        print(
            f"Tux Paint: {write_benchmark(home / 'benchmarks' / BENCHMARK, held_out)} held out, "
            f"{write_drop(home / 'drops' / HALF, taught)} for the control"
        )
        print(f"Open Clip Art: {write_drop(home / 'drops' / CRAWL, clip_art(packages))}")
        (home / "recipes").mkdir(exist_ok=True)
        for run in runs:
            (home / "recipes" / f"{run.recipe}.yaml").write_text(yaml.safe_dump(recipe_of(run)), "utf-8")
        for name in (CRAWL, HALF):
            veclip("crawl", "add", str(home / "drops" / name))
    engines = ("--concept-engine", "tagger", "--fusion-engine", "template")
    chosen = [argument for run in runs for argument in ("--recipe", run.recipe)]
    veclip("cluster", "up")
    try:
        veclip("materialize", *engines, "--partition", CRAWL, "--partition", HALF, *chosen)
    finally:
        veclip("cluster", "down")
    scores = scores_of(Warehouse.at(str(home / "warehouse")), [run.recipe for run in runs])
    found = means(scores, runs, _METRICS)
    told = [
        compare(f"{claim}, {metric}", found[better, "all"][metric], found[worse, "all"][metric])
        for metric in _METRICS
        for better, worse, claim in (
            ("vecap", "alttext", "VeCap beats AltText"),
            ("mixed", "alttext", "the mix beats AltText"),
            ("mixed", "taught", "control: the other half of the benchmark's source, beside AltText, does not do it"),
        )
    ]
    _RESULTS.mkdir(parents=True, exist_ok=True)
    (_RESULTS / "report.md").write_text(markdown(found, told, _METRICS) + "\n", "utf-8")
    kept = [
        {key: row[key] for key in ("recipe", "metric", "value", "low", "high", "samples", "steps", "weights_sha256")}
        for row in scores
    ]
    (_RESULTS / "figures.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
