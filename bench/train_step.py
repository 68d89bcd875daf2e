"""A training step of ours against open_clip's: ViT-B/32, same batch, same texts, both in the peers' environment."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

from bench.crawl_data import text
from bench.outcome import Result
from bench.peers import VISION, run_peer

_CONFIG = Path(__file__).parents[1] / "veclip_pipelines" / "config" / "model_configs" / "vit-b-32.json"


def run(count: int = 32) -> tuple[Result, dict[str, str]]:
    """``count`` is the batch."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        texts = Path(scratch) / "texts.json"
        texts.write_text(json.dumps([text(rng) for _ in range(count)]), "utf-8")
        found = run_peer("train_step.py", str(_CONFIG), str(count), "5", str(texts), environment=VISION)
    details = {
        "seconds_ours": f"{found['ours']:.2f}",
        "seconds_ours_texts_padded_to_77_too": f"{found['ours_padded']:.2f}",
        "seconds_peer": f"{found['theirs']:.2f}",
        "texts": "3 to 14 words",
        "precision": "float32",
    }
    ours, peer = count / found["ours"], count / found["theirs"]
    return Result(
        "train-step", "samples a second", count, ours, peer, "open_clip 3.3.0, ViT-B-32", ours / peer
    ), details
