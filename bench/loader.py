"""Samples a second of our loader, straight from shard pointers, against open_clip's webdataset loader on the same shards.

Ours shuffles over all samples and open_clip's within a buffer; both decode, cut a random part to 224 pixels, normalise and tokenize.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from bench.crawl_data import write_img2dataset_drop
from bench.outcome import Result
from bench.peers import VISION, run_peer
from veclip_pipelines.compute.fanout import HereRunner
from veclip_pipelines.config.model_config import train_tokenizer
from veclip_pipelines.config.recipe import Recipe, TrainingSettings
from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.crawl.index import Crawl, index_drop
from veclip_pipelines.mixing.mix import ResolvedText, resolve_mix
from veclip_pipelines.mixing.training_set import input_versions, make_training_set
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.training.embedding import normalised, tokens_of
from veclip_pipelines.training.loader import Loader, LoaderSettings
from veclip_pipelines.training.loop import plan_of
from veclip_pipelines.training.samples import SampleFile, write_samples

_PER_SHARD, _BATCH, _SIZE = 500, 100, 224
_ROUNDS = 3


def run(count: int = 5_000) -> tuple[Result, dict[str, str]]:
    import torch

    cores = os.cpu_count() or 1
    torch.set_num_threads(1)  # as in a worker: the cores are for decoding
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        folder = write_img2dataset_drop(Path(scratch) / "drop", count, _PER_SHARD)
        samples = _sample_file(Path(scratch), folder)
        ours, theirs = [], []
        for _ in range(_ROUNDS):
            ours.append(_ours(samples, cores))
            found = run_peer("open_clip_loader.py", str(folder), str(count // _PER_SHARD), str(count), str(_BATCH), str(cores), str(_SIZE),
                             environment=VISION)  # fmt: skip
            theirs.append(found["samples"] / found["seconds"])
    best, peer = max(ours), max(theirs)
    details = {"rounds_ours": ", ".join(f"{value:.0f}" for value in ours), "rounds_peer": ", ".join(f"{value:.0f}" for value in theirs),
               "workers": str(cores), "pictures": "JPEG, 256 pixels, to 224"}  # fmt: skip
    return Result(
        "loader", "samples a second", count, best, peer, "open_clip 3.3.0, webdataset loader", best / peer
    ), details


def _sample_file(scratch: Path, folder: Path) -> SampleFile:
    warehouse = Warehouse.at(str(scratch / "warehouse"))
    index_drop(Crawl(warehouse, "p", inspect_drop(str(folder)), str(scratch / "shards")), HereRunner(), properties={})
    recipe = Recipe.model_validate(
        {"name": "bench", "description": "", "texts": [{"source": "alt_text", "probability": 1.0}]}
    )
    mix = resolve_mix(warehouse, recipe, {"main": [ResolvedText(source="alt_text", probability=1.0)]})
    made = make_training_set(warehouse, mix, input_versions(warehouse, mix), properties={})
    write_samples(warehouse, "bench", made.set_version, scratch / "samples.arrow")
    return SampleFile(scratch / "samples.arrow")


def _ours(samples: SampleFile, cores: int) -> float:
    import torch

    tokenizer = train_tokenizer(samples.texts(1000), 1024, 77)
    settings = TrainingSettings(batch_size=_BATCH, crop_scale=0.9)
    loader = Loader(samples, plan_of(samples, settings), settings, _SIZE, LoaderSettings(workers=cores))
    seen, started = 0, 0.0
    with loader.batches() as batches:
        for number in range(len(samples) // _BATCH):
            loaded = next(batches)
            pixels, tokens = normalised(torch.from_numpy(loaded.pixels)), tokens_of(tokenizer, loaded.texts)
            assert pixels.shape[0] == tokens["input_ids"].shape[0]
            if number == 0:
                started = time.perf_counter()
            else:
                seen += len(pixels)
    return seen / (time.perf_counter() - started)
