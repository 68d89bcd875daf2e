"""Small trainings for tests: pictures in a tar, a sample file, a config with a few thousand weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from builders import picture

from veclip_pipelines.config.recipe import ModelSettings, Recipe, TrainingSettings
from veclip_pipelines.training.loop import TrainingJob
from veclip_pipelines.training.samples import _SCHEMA

_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_act": "gelu",
}
CONFIG: dict[str, Any] = {
    "projection_dim": 8,
    "vision_config": {**_TOWER, "image_size": 16, "patch_size": 8, "projection_dim": 8},
    "text_config": {**_TOWER, "max_position_embeddings": 16, "projection_dim": 8},
}
MODEL = ModelSettings(vocabulary_size=300)
BRIEF = TrainingSettings(steps=12, batch_size=4, learning_rate=1e-3, warmup_steps=3, seed=5)
RECIPE = Recipe.model_validate(
    {
        "name": "r",
        "description": "",
        "texts": [{"source": "alt_text", "probability": 1.0}],
        "model": MODEL,
        "training": BRIEF,
    }
)


def write_sample_file(folder: Path, count: int, *, texts: int = 1, weight: float = 1.0, kind: str = "PNG") -> Path:
    """Pictures one behind the other in one file, and the samples that point to them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    with (folder / "shard").open("wb") as shard:
        for number in range(count):
            data = picture(number, kind=kind)
            words = [f"shape number {number} on the table", f"another text {number}"][:texts]
            rows.append(
                {
                    "sample_id": f"{number * 2654435761 % 2**64:016x}{number:016x}",
                    "shard_uri": str(folder / "shard"),
                    "image_offset": shard.tell(),
                    "image_length": len(data),
                    "texts": words,
                    "probabilities": [1.0 / texts] * texts,
                    "weight": weight,
                }
            )
            shard.write(data)
    path = folder / "samples.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=_SCHEMA))
    return path


def job(folder: Path, count: int = 10, *, texts: int = 1, weight: float = 1.0, **training: object) -> TrainingJob:
    """A training of ``count`` samples whose state is kept in the folder."""
    settings = BRIEF.model_copy(update=training)
    samples = folder / "samples.arrow"
    if not samples.is_file():
        write_sample_file(folder, count, texts=texts, weight=weight)
    return TrainingJob(samples, folder / "state", CONFIG, MODEL, settings)
