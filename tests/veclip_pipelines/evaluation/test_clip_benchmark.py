"""The same model on the same tars: our scores equal CLIP_benchmark's to four decimals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.evaluation import write_benchmarks
from bench.peers import VISION, run_peer
from veclip_pipelines.compute.fanout import HereRunner
from veclip_pipelines.evaluation.benchmarks import open_benchmark
from veclip_pipelines.evaluation.models import ModelSource
from veclip_pipelines.evaluation.scoring import score

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not os.environ.get("VECLIP_TEST_FULL"), reason="CLIP_benchmark's environment is made by make test-full alone"
    ),
]

NAMES = {
    "zeroshot_retrieval": {
        f"{theirs}_retrieval_recall@{k}": f"{ours}_recall@{k}"
        for theirs, ours in (("text", "image_to_text"), ("image", "text_to_image"))
        for k in (1, 5, 10)
    },
    "zeroshot_classification": {"acc1": "acc@1", "acc5": "acc@5", "mean_per_class_recall": "mean_per_class_recall"},
}


@pytest.mark.parametrize("task", NAMES)
def test_scores_are_clip_benchmarks(task: str, tmp_path: Path) -> None:
    """On a model that was taught half of the pictures by heart: scores neither at chance nor at 1."""
    place = dict(zip(NAMES, write_benchmarks(tmp_path, 200), strict=True))[task]
    made = run_peer("make_open_clip.py", str(place), str(tmp_path / "model"), "60", environment=VISION)
    arguments = (str(tmp_path / "model"), str(place), task, str(tmp_path / "theirs.json"), "1")
    theirs = run_peer("clip_benchmark_eval.py", *arguments, environment=VISION)["metrics"]
    ours = score(ModelSource(str(tmp_path / "model"), made["vocabulary"]), open_benchmark(place, "test"), HereRunner())
    assert {name: f"{ours[name].value:.4f}" for name in NAMES[task].values()} == {
        ours_name: f"{theirs[name]:.4f}" for name, ours_name in NAMES[task].items()
    }
    first = ours[next(iter(NAMES[task].values()))].value
    assert 0.02 < first < 0.98
