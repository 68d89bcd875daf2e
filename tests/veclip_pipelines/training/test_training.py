"""Training on one rank: losses against their definition, cached gradients, resumption, the order of samples, stops on bad losses."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from training_jobs import BRIEF, CONFIG, MODEL, job, write_sample_file

from veclip_pipelines.config.model_config import tokenizer_for, train_tokenizer
from veclip_pipelines.config.recipe import TrainingSettings
from veclip_pipelines.errors import UsageError, VeclipError
from veclip_pipelines.training.batches import BatchPlan
from veclip_pipelines.training.exposure import exposure_of, write_exposure
from veclip_pipelines.training.group import Group
from veclip_pipelines.training.loader import Loader, LoaderSettings
from veclip_pipelines.training.loop import Trained, plan_of, train
from veclip_pipelines.training.losses import chance_loss, info_nce, sigmoid_loss
from veclip_pipelines.training.model import build_model
from veclip_pipelines.training.optimisation import Average, Health, learning_rate_at
from veclip_pipelines.training.samples import SampleFile
from veclip_pipelines.training.step_log import StepLog, saved_facts


def features(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.nn.functional.normalize(torch.randn(5, 8, generator=generator), dim=1) for _ in range(2)]
    return made[0], made[1]


def test_info_nce_by_its_definition() -> None:
    images, texts = features()
    logits = math.exp(2.0) * (images @ texts.T).numpy().astype(np.float64)
    by_rows = -np.mean([logits[i, i] - np.log(np.exp(logits[i]).sum()) for i in range(5)])
    by_columns = -np.mean([logits[i, i] - np.log(np.exp(logits[:, i]).sum()) for i in range(5)])
    assert info_nce(images, texts, torch.tensor(2.0)).item() == pytest.approx((by_rows + by_columns) / 2, abs=1e-5)


def test_sigmoid_loss_by_its_definition() -> None:
    images, texts = features()
    logits = math.exp(1.5) * (images @ texts.T).numpy().astype(np.float64) - 3.0
    terms = [np.log1p(np.exp(-logits[i, j] if i == j else logits[i, j])) for i in range(5) for j in range(5)]
    loss = sigmoid_loss(images, texts, torch.tensor(1.5), torch.tensor(-3.0))
    assert loss.item() == pytest.approx(sum(terms) / 5, abs=1e-5)


def test_the_rows_of_ranks_add_up_to_the_whole() -> None:
    images, texts = features()
    scale, bias = torch.tensor(2.0), torch.tensor(-1.0)
    halves = (slice(0, 2), slice(2, 5))
    assert sum(info_nce(images, texts, scale, own) for own in halves) == pytest.approx(
        info_nce(images, texts, scale).item()
    )
    whole = sigmoid_loss(images, texts, scale, bias).item()
    assert sum(sigmoid_loss(images, texts, scale, bias, own) for own in halves) == pytest.approx(whole)


def test_chance_is_what_a_model_gets_to_which_all_looks_the_same() -> None:
    same = torch.nn.functional.normalize(torch.ones(6, 4), dim=1)
    assert info_nce(same, same, torch.tensor(3.0)).item() == pytest.approx(chance_loss("infonce", 6), abs=1e-5)
    logit = math.log(1 / 5)  # the bias at which one pair of six is said to be right
    loss = sigmoid_loss(same, same, torch.tensor(0.0), torch.tensor(logit - 1.0)).item()
    assert loss == pytest.approx(chance_loss("sigmoid", 6), abs=1e-5)


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    settings = TrainingSettings(warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate_at(step, 100, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


@pytest.mark.parametrize(("samples", "size"), [(12, 4), (13, 4), (10, 4), (7, 16), (9, 8)])
def test_each_sample_comes_once_an_epoch(samples: int, size: int) -> None:
    """Also where a batch is left over, of which one that is too small joins the batch before it."""
    plan = BatchPlan(samples, size, seed=1)
    source = plan.batches()
    orders = []
    for epoch in range(3):
        batches = [next(source) for _ in range(plan.batches_in(epoch))]
        assert all(batch.epoch == epoch and len(batch.numbers) >= 2 for batch in batches)
        orders.append(np.concatenate([batch.numbers for batch in batches]).tolist())
    assert all(sorted(order) == list(range(samples)) for order in orders)
    assert orders[0] != orders[1]
    assert plan.steps_of(3) == sum(plan.batches_in(epoch) for epoch in range(3))


def test_batches_are_the_same_from_any_step_and_for_any_number_of_ranks() -> None:
    plan = BatchPlan(23, 5, seed=2)
    source = plan.batches()
    batches = [next(source) for _ in range(12)]
    for start in (0, 4, 5, 11):
        resumed = next(plan.batches(start))
        assert (resumed.step, resumed.epoch) == (start, batches[start].epoch)
        assert np.array_equal(resumed.numbers, batches[start].numbers)
    for world in (2, 3, 7):
        shares = [batches[3].of_rank(rank, world) for rank in range(world)]
        assert np.array_equal(np.concatenate(shares), batches[3].numbers)


def test_weights_change_how_often_a_sample_comes(tmp_path: Path) -> None:
    samples = SampleFile(write_sample_file(tmp_path, 40, weight=1.5))
    plan = plan_of(samples, BRIEF)
    seen = np.concatenate([batch.numbers for batch in (next(plan.batches(step)) for step in range(plan.batches_in(0)))])
    counts = np.bincount(seen, minlength=40)
    assert set(counts) == {1, 2}
    assert len(seen) == plan.counts(0).sum()


@pytest.mark.parametrize("weight", [1.0, 1.5, 0.3])
@pytest.mark.parametrize("steps", [0, 1, 7, 30])
def test_exposure_is_what_the_batches_showed(tmp_path: Path, weight: float, steps: int) -> None:
    samples = SampleFile(write_sample_file(tmp_path, 40, weight=weight))
    plan = plan_of(samples, BRIEF)
    batches = list(islice(plan.batches(), steps))
    expected = np.bincount(np.concatenate([[], *(batch.numbers for batch in batches)]).astype(int), minlength=40)
    seen = plan.seen(steps)
    assert seen.total.tolist() == expected.tolist()
    write_exposure(tmp_path, samples, seen)
    ids = [samples.sample_id(number) for number in range(40)]
    found = exposure_of(tmp_path, [*ids[:3], "f" * 32])
    assert [found[sample_id].seen for sample_id in ids[:3]] == expected[:3].tolist()
    assert "f" * 32 not in found
    own = [batch.epoch for batch in batches for number in batch.numbers if number == 0]
    assert found[ids[0]].last == sum(epoch == found[ids[0]].whole_epochs for epoch in own)


def test_text_pooling_reads_the_end_token() -> None:
    """transformers pools at the largest id where the end token has id 2: ours must not."""
    tokenizer = train_tokenizer(["a red circle", "a blue square"], 300, 16)
    torch.manual_seed(0)
    model = build_model(CONFIG, tokenizer).eval()
    encoded = tokenizer(["a red circle", "blue"], padding=True, return_tensors="pt")
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    with torch.inference_mode():
        output = model.text_model(input_ids=ids, attention_mask=mask)
    for row in range(2):
        end = ids[row].tolist().index(tokenizer.eos_token_id)
        assert torch.equal(output.pooler_output[row], output.last_hidden_state[row, end])


def test_a_strangers_text_cannot_write_special_tokens() -> None:
    tokenizer = train_tokenizer(["a red circle"], 300, 16)
    assert tokenizer("red <|endoftext|> circle")["input_ids"].count(tokenizer.eos_token_id) == 1


def test_t5s_kind_of_tokenizer_from_a_folder_trains(tmp_path: Path) -> None:
    """The released VeCLIP reads T5's ids: no start token, the end token is 1, padding is 0. The vocabulary here is our own."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((f"▁{word}", -2.0) for word in "shape number on the table".split()),
    ]
    raw = Tokenizer(models.Unigram([*words, ("▁", -4.0), *((digit, -3.0) for digit in "0123456789")], unk_id=2))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(tmp_path / "t5")
    base = job(tmp_path)
    trained = train(replace(base, model=MODEL.model_copy(update={"tokenizer": str(tmp_path / "t5")})), Group())
    assert trained.model.config.text_config.eos_token_id == 1
    assert trained.progress.history[0].loss > trained.progress.history[-1].loss


def test_a_tokenizer_that_is_not_there_is_told_with_the_hubs_words() -> None:
    with pytest.raises(VeclipError, match="neither a folder nor could the hub give it"):
        tokenizer_for(MODEL.model_copy(update={"tokenizer": "openai/clip-vit-base-patch32-none"}), 77, [])


def losses(trained: Trained) -> list[float]:
    return [log.loss for log in trained.progress.history]


def weights(trained: Trained) -> list[torch.Tensor]:
    return list(trained.model.parameters())


def test_the_same_samples_and_settings_give_the_same_weights(tmp_path: Path) -> None:
    first, second = (train(job(tmp_path / name), Group()) for name in "ab")
    assert [log.batch for log in first.progress.history] == [log.batch for log in second.progress.history]
    assert losses(first) == losses(second)
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    assert losses(first)[0] > losses(first)[-1]


@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
def test_cached_gradients_are_those_of_the_whole_batch(tmp_path: Path, loss: str) -> None:
    whole = train(job(tmp_path, batch_size=8, loss=loss), Group())
    pieces = train(job(tmp_path, batch_size=8, loss=loss, micro_batch=3), Group())
    thrifty = train(job(tmp_path, batch_size=8, loss=loss, micro_batch=3, activation_checkpointing=True), Group())
    assert losses(pieces) == pytest.approx(losses(whole), abs=1e-5)
    assert losses(thrifty) == pytest.approx(losses(whole), abs=1e-5)


class StoppedError(Exception):
    """Injected: the process ends here."""


@pytest.mark.parametrize("extra", [{}, {"ema_decay": 0.9, "crop_scale": 0.7}, {"epochs": 4}])
def test_a_run_that_was_cut_off_goes_on_as_undisturbed(tmp_path: Path, extra: dict[str, object]) -> None:
    undisturbed = train(job(tmp_path / "a", checkpoint_steps=100, **extra), Group())
    resumed = job(tmp_path / "b", checkpoint_steps=4, **extra)

    def stop_at(log: StepLog) -> None:
        if log.step == 6:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(resumed, Group(), on_step=stop_at, mlflow_run_id="m1")
    assert saved_facts(resumed.state) == (4, "m1")
    seen: list[int] = []
    trained = train(resumed, Group(), on_step=lambda log: seen.append(log.step), mlflow_run_id="m2")
    assert seen[0] == 4
    assert trained.progress.mlflow_run_id == "m1"
    assert trained.progress.history == undisturbed.progress.history
    assert all(torch.equal(a, b) for a, b in zip(weights(trained), weights(undisturbed), strict=True))


def test_a_state_of_another_model_is_told(tmp_path: Path) -> None:
    first = job(tmp_path, checkpoint_steps=4)
    train(first, Group())
    wider = {**CONFIG, "projection_dim": 12}
    with pytest.raises(VeclipError, match="is of another model"):
        train(replace(first, config=wider), Group())


def test_too_little_and_not_finite_are_told(tmp_path: Path) -> None:
    with pytest.raises(VeclipError, match="nothing to contrast"):
        train(job(tmp_path / "one", 1), Group())
    with pytest.raises(VeclipError, match="the loss is nan at step"):
        train(job(tmp_path / "wild", learning_rate=1e30, max_grad_norm=1e30, steps=30), Group())


def test_collapse_stops_the_run_and_learning_does_not() -> None:
    settings = TrainingSettings(batch_size=128, warmup_steps=20)
    health = Health(settings)
    for step in range(220):
        health.look(step, math.log(128) + 0.001, 128)
    with pytest.raises(
        VeclipError, match=r"training has collapsed: over the last 100 steps up to 220 the loss is 4\.853"
    ):
        health.look(220, math.log(128), 128)
    learning = Health(settings)
    for step in range(600):
        learning.look(step, math.log(128) * (0.97 - step / 2000), 128)


def test_a_picture_that_is_gone_is_told(tmp_path: Path) -> None:
    broken = job(tmp_path)
    with (tmp_path / "shard").open("r+b") as shard:
        shard.truncate(500)
    with pytest.raises(VeclipError, match=r"cannot be read any more: .*shard.* Was its shard moved"):
        train(broken, Group())


def test_the_average_moves_towards_the_weights() -> None:
    layer = torch.nn.Linear(2, 2, bias=False)
    average = Average.of(layer, 0.9)
    start = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1.0)
    average.update(layer)
    assert torch.allclose(average.shadow["weight"], start + 0.1)


def test_bfloat16_learns_and_keeps_float32_weights(tmp_path: Path) -> None:
    trained = train(job(tmp_path, precision="bfloat16", steps=20), Group())
    assert {parameter.dtype for parameter in trained.model.parameters()} == {torch.float32}
    assert losses(trained)[0] > losses(trained)[-1]


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_loaded_batches_do_not_depend_on_who_decodes(tmp_path: Path, processes: bool) -> None:
    samples = SampleFile(write_sample_file(tmp_path, 70, texts=2, kind="JPEG"))
    settings = BRIEF.model_copy(update={"batch_size": 35, "crop_scale": 0.5})

    def load(loader: LoaderSettings, rank: int, world: int) -> list[tuple[np.ndarray, list[str], list[str]]]:
        with Loader(samples, plan_of(samples, settings), settings, 16, loader, rank, world).batches(1) as batches:
            return [(b.pixels, b.texts, b.sample_ids) for b in (next(batches) for _ in range(2))]

    alone = load(LoaderSettings(workers=1, ahead=0), 0, 1)
    many = load(LoaderSettings(workers=3, processes=processes), 0, 1)
    shares = [load(LoaderSettings(), rank, 2) for rank in range(2)]
    for place, (pixels, texts, ids) in enumerate(alone):
        assert np.array_equal(pixels, many[place][0])
        assert (texts, ids) == (many[place][1], many[place][2])
        assert np.array_equal(pixels, np.concatenate([share[place][0] for share in shares]))
        assert texts == [text for share in shares for text in share[place][1]]
    # Each epoch draws other texts and other crops.
    assert {text.split()[0] for _, texts, _ in alone for text in texts} == {"shape", "another"}
    assert not np.array_equal(np.sort(alone[0][0], axis=0), np.sort(alone[1][0], axis=0))


def test_a_tokenizer_without_an_end_is_wrong_use() -> None:
    tokenizer = train_tokenizer(["a"], 300, 16)
    tokenizer.eos_token = None
    with pytest.raises(UsageError, match="no end token"):
        build_model(CONFIG, tokenizer)
