"""Training: the loss against its definition, determinism, a checkpoint that others can load."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import index, numbered_entries, write_drop
from transformers import AutoTokenizer, CLIPModel

from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.mixing.training_set import ResolvedText, input_versions, make_training_set
from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.recipe import ModelSettings, Recipe, TrainingSettings
from veclip_pipelines.settings import Settings
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.training.checkpoint import (
    CheckpointTask,
    checkpoint_id_of,
    find_checkpoint,
    read_history,
    train_checkpoint,
)
from veclip_pipelines.training.loop import StepLog, _batches, info_nce, learning_rate_at, train_clip
from veclip_pipelines.training.model import build_model, train_tokenizer
from veclip_pipelines.training.samples import TrainingSample, read_samples

SMALL = ModelSettings(
    image_size=16, patch_size=8, width=16, layers=1, heads=2, embedding_size=8, context_length=16, vocabulary_size=300
)
BRIEF = TrainingSettings(steps=12, batch_size=4, learning_rate=1e-3, warmup_steps=3, seed=5)
RECIPE = Recipe.model_validate(
    {
        "name": "r",
        "description": "",
        "texts": [{"source": "alt_text", "probability": 1.0}],
        "model": SMALL,
        "training": BRIEF,
    }
)


@pytest.fixture
def training_set(tmp_path: Path, warehouse: Warehouse) -> str:
    drop = inspect_drop(str(write_drop(tmp_path / "drop", numbered_entries(10))))
    index(warehouse, drop, "p")
    texts = [ResolvedText("alt_text", 1.0, None, None)]
    made = make_training_set(warehouse, RECIPE, texts, input_versions(warehouse, RECIPE, "h", texts), properties={})
    return made.set_version


def test_info_nce_by_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(5, 8, generator=generator), dim=1) for _ in range(2))
    logits = math.exp(2.0) * (images @ texts.T).numpy().astype(np.float64)
    by_rows = -np.mean([logits[i, i] - np.log(np.exp(logits[i]).sum()) for i in range(5)])
    by_columns = -np.mean([logits[i, i] - np.log(np.exp(logits[:, i]).sum()) for i in range(5)])
    assert info_nce(images, texts, torch.tensor(2.0)).item() == pytest.approx((by_rows + by_columns) / 2, abs=1e-5)


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    rates = [
        learning_rate_at(step, TrainingSettings(steps=100, warmup_steps=10, learning_rate=1.0)) for step in range(100)
    ]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_each_sample_comes_once_an_epoch() -> None:
    settings = TrainingSettings(batch_size=4)
    epochs: dict[int, list[int]] = {}
    for _, (epoch, batch) in zip(range(9), _batches(12, settings), strict=False):
        epochs.setdefault(epoch, []).extend(batch)
    assert sorted(epochs) == [0, 1, 2]
    assert all(sorted(seen) == list(range(12)) for seen in epochs.values())
    assert epochs[0] != epochs[1]


def test_text_pooling_reads_the_end_token() -> None:
    """transformers pools at the largest id where the end token has id 2: ours must not."""
    tokenizer = train_tokenizer(["a red circle", "a blue square"], SMALL)
    torch.manual_seed(0)
    model = build_model(SMALL, tokenizer).eval()
    encoded = tokenizer(["a red circle", "blue"], padding=True, return_tensors="pt")
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    with torch.inference_mode():
        output = model.text_model(input_ids=ids, attention_mask=mask)
    for row in range(2):
        end = ids[row].tolist().index(tokenizer.eos_token_id)
        assert torch.equal(output.pooler_output[row], output.last_hidden_state[row, end])


def test_a_strangers_text_cannot_write_special_tokens() -> None:
    tokenizer = train_tokenizer(["a red circle"], SMALL)
    ids = tokenizer("red <|endoftext|> circle")["input_ids"]
    assert ids.count(tokenizer.eos_token_id) == 1


def test_the_same_samples_and_settings_give_the_same_weights(warehouse: Warehouse, training_set: str) -> None:
    samples = read_samples(warehouse, "r", training_set)
    logs: list[list[StepLog]] = [[], []]
    models = [train_clip(samples, SMALL, BRIEF, log.append)[0] for log in logs]
    assert logs[0] == logs[1]
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
    assert logs[0][0].loss > logs[0][-1].loss


def test_too_little_and_not_finite_are_told(warehouse: Warehouse, training_set: str) -> None:
    samples = read_samples(warehouse, "r", training_set)
    with pytest.raises(VeclipError, match="nothing to contrast"):
        train_clip(samples[:1], SMALL, BRIEF, lambda _: None)
    wild = BRIEF.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0})
    with pytest.raises(VeclipError, match="the loss is nan at step"):
        train_clip(samples, SMALL, wild, lambda _: None)


def test_both_texts_of_a_sample_are_drawn(
    warehouse: Warehouse, training_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from veclip_pipelines.training import loop

    samples = [
        TrainingSample(s.sample_id, s.picture, (s.texts[0], "the other text"), (0.5, 0.5))
        for s in read_samples(warehouse, "r", training_set)
    ]
    seen: list[str] = []
    real = loop.tokens_of
    monkeypatch.setattr(loop, "tokens_of", lambda tokenizer, texts: (seen.extend(texts), real(tokenizer, texts))[1])
    train_clip(samples, SMALL, BRIEF.model_copy(update={"steps": 30}), lambda _: None)
    share = seen.count("the other text") / len(seen)
    assert 0.3 < share < 0.7


def test_a_checkpoint_is_whole_logged_and_loadable(settings: Settings, warehouse: Warehouse, training_set: str) -> None:
    checkpoint_id = checkpoint_id_of(RECIPE, training_set)
    tracking = Tracking(settings.mlflow_tracking_uri, settings.mlflow_artifacts)
    task = CheckpointTask(
        warehouse,
        settings.checkpoints / checkpoint_id,
        RECIPE,
        training_set,
        checkpoint_id,
        tracking,
        "dagster-run",
        "me",
    )
    assert find_checkpoint(warehouse, checkpoint_id) is None
    row = train_checkpoint(task)
    assert find_checkpoint(warehouse, checkpoint_id) is not None
    model = CLIPModel.from_pretrained(str(row["uri"]))
    tokenizer = AutoTokenizer.from_pretrained(str(row["uri"]))
    assert model.config.projection_dim == SMALL.embedding_size
    assert tokenizer("a red circle")["input_ids"][-1] == tokenizer.eos_token_id
    assert sorted(path.name for path in settings.checkpoints.iterdir()) == [checkpoint_id]
    assert not list(Path(str(row["uri"])).glob("*.bin"))
    history = read_history(Path(str(row["uri"])))
    assert history["step"] == list(range(BRIEF.steps))

    client = tracking.client()
    run = client.get_run(str(row["mlflow_run_id"]))
    assert run.info.status == "FINISHED"
    assert (run.data.params["set_version"], run.data.params["steps"]) == (training_set, "12")
    assert run.data.tags["weights_sha256"] == row["weights_sha256"]
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, pytest.approx(history["loss"][metric.step])) for metric in losses] == [
        (m.step, m.value) for m in losses
    ]
    assert client.get_metric_history(run.info.run_id, "learning_rate")
    assert len(read_rows(warehouse, "SELECT * FROM checkpoints", tables=["checkpoints"])) == 1


def test_a_failed_training_leaves_no_folder_and_a_failed_run(
    settings: Settings, warehouse: Warehouse, training_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from veclip_pipelines.training import loop

    def fails(*_: object) -> None:
        raise VeclipError("no")

    monkeypatch.setattr(loop, "train_clip", fails)
    tracking = Tracking(settings.mlflow_tracking_uri, settings.mlflow_artifacts)
    task = CheckpointTask(warehouse, settings.checkpoints / "x", RECIPE, training_set, "x", tracking, "run", "me")
    with pytest.raises(VeclipError):
        train_checkpoint(task)
    assert not settings.checkpoints.exists() or not list(settings.checkpoints.iterdir())
    (run,) = tracking.client().search_runs([tracking.client().get_experiment_by_name("veclip").experiment_id])
    assert run.info.status == "FAILED"


def test_a_checkpoint_that_lost_its_weights_is_not_found(
    settings: Settings, warehouse: Warehouse, training_set: str
) -> None:
    tracking = Tracking(settings.mlflow_tracking_uri, settings.mlflow_artifacts)
    task = CheckpointTask(warehouse, settings.checkpoints / "x", RECIPE, training_set, "x", tracking, "run", "me")
    row = train_checkpoint(task)
    (Path(str(row["uri"])) / "model.safetensors").unlink()
    assert find_checkpoint(warehouse, "x") is None
