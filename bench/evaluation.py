"""Scoring ViT-B/32 on retrieval and zero-shot by veclip eval against CLIP_benchmark: same weights, same tars, whole commands."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from bench.crawl_data import photographs, text
from bench.outcome import Result
from bench.peers import VISION, run_peer

_CAPTIONS, _CLASSES, _TEMPLATES, _PER_SHARD = 5, 20, 8, 100


def run(count: int = 300) -> tuple[Result, dict[str, str]]:
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        root = Path(scratch)
        retrieval, zero_shot = write_benchmarks(root, count)
        vocabulary = run_peer("make_vit_b_32.py", str(root / "model"), environment=VISION)["vocabulary"]
        ours, theirs = 0.0, 0.0
        for place, task in ((retrieval, "zeroshot_retrieval"), (zero_shot, "zeroshot_classification")):
            ours += _ours(root / "model", place, vocabulary)
            found = run_peer("clip_benchmark_eval.py", str(root / "model"), str(place), task, str(root / f"{task}.json"), str(cores),
                             environment=VISION)  # fmt: skip
            theirs += found["seconds"]
    details = {"seconds_ours": f"{ours:.1f}", "seconds_peer": f"{theirs:.1f}",
               "texts": f"{count * _CAPTIONS} captions, {_CLASSES * _TEMPLATES} prompts"}  # fmt: skip
    return Result(
        "evaluation",
        "pictures a second",
        count,
        2 * count / ours,
        2 * count / theirs,
        "CLIP_benchmark 1.6.2",
        theirs / ours,
    ), details


def write_benchmarks(root: Path, count: int) -> tuple[Path, Path]:
    """The same pictures with captions, and with classes, in CLIP_benchmark's webdataset layout."""
    rng = random.Random(0)
    pictures = photographs(count)
    retrieval, zero_shot = root / "retrieval", root / "zeroshot"
    for place, kind in ((retrieval, "txt"), (zero_shot, "cls")):
        (place / "test").mkdir(parents=True)
        shards = range(0, count, _PER_SHARD)
        (place / "test" / "nshards.txt").write_text(str(len(shards)))
        for number, start in enumerate(shards):
            with tarfile.open(place / "test" / f"{number}.tar", "w") as tar:
                for index in range(start, min(start + _PER_SHARD, count)):
                    words = (
                        "\n".join(f"{text(rng)} {index}" for _ in range(_CAPTIONS))
                        if kind == "txt"
                        else str(index % _CLASSES)
                    )
                    _add(tar, f"s{index:07d}.{kind}", words.encode())
                    _add(tar, f"s{index:07d}.jpg", pictures[index])
    (retrieval / "dataset_type.txt").write_text("retrieval")
    (zero_shot / "classnames.txt").write_text("\n".join(f"{text(rng)} {number}" for number in range(_CLASSES)))
    (zero_shot / "zeroshot_classification_templates.txt").write_text(
        "\n".join(f"a photo of a {{c}}, number {number}." for number in range(_TEMPLATES))
    )
    return retrieval, zero_shot


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    import io

    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _ours(model: Path, benchmark: Path, vocabulary: str) -> float:
    command = [
        sys.executable,
        "-m",
        "veclip_pipelines.cli",
        "eval",
        str(model),
        "--benchmark",
        str(benchmark),
        "--tokenizer",
        vocabulary,
    ]
    started = time.perf_counter()
    done = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
    json.loads(done.stdout)
    return time.perf_counter() - started
