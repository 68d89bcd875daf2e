"""From a training set to a checkpoint on a real Dask cluster: one rank per worker, a rank that is killed, MLflow's record."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builders import index, numbered_entries, write_drop
from distributed import Client, LocalCluster
from training_jobs import CONFIG, RECIPE
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from veclip_pipelines.compute.fanout import DaskRunner
from veclip_pipelines.config.recipe import Recipe
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.mixing.mix import ResolvedText, resolve_mix
from veclip_pipelines.mixing.training_set import input_versions, make_training_set
from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.training.checkpoint import (
    CheckpointTask,
    checkpoint_id_of,
    find_checkpoint,
    read_history,
    state_folder,
)
from veclip_pipelines.training.exposure import EXPOSURE
from veclip_pipelines.training.ranks import train_checkpoint
from veclip_pipelines.training.step_log import saved_facts

# Together on one worker: they share two Dask workers.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("migrated_store"), pytest.mark.xdist_group("checkpoint")]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as connected,
    ):
        yield connected


@pytest.fixture
def training_set(tmp_path: Path, warehouse: Warehouse) -> str:
    index(warehouse, write_drop(tmp_path / "drop", numbered_entries(30)), "p")
    mix = resolve_mix(warehouse, RECIPE, {"main": [ResolvedText(source="alt_text", probability=1.0)]})
    return make_training_set(warehouse, mix, input_versions(warehouse, mix), properties={}).set_version


def task_of(
    settings: Settings, warehouse: Warehouse, set_version: str, recipe: Recipe = RECIPE, name: str = ""
) -> CheckpointTask:
    checkpoint_id = name or checkpoint_id_of(recipe, CONFIG, set_version)
    tracking = Tracking(settings.mlflow_tracking_uri, settings.mlflow_artifacts)
    folder = settings.checkpoints / checkpoint_id
    return CheckpointTask(warehouse, folder, recipe, CONFIG, set_version, checkpoint_id, tracking, "dagster-run", "me")


def test_a_checkpoint_is_whole_logged_registered_and_loadable(
    settings: Settings, warehouse: Warehouse, training_set: str, client: Client
) -> None:
    task = task_of(settings, warehouse, training_set)
    assert find_checkpoint(warehouse, task.checkpoint_id) is None
    row = train_checkpoint(DaskRunner(client, "run"), task, 0)
    assert find_checkpoint(warehouse, task.checkpoint_id) is not None
    assert len(read_rows(warehouse, "SELECT * FROM checkpoints", tables=["checkpoints"])) == 1
    assert json.loads(str(row["settings"]))["ranks"] == 2
    folder = Path(str(row["uri"]))
    assert CLIPModel.from_pretrained(folder).config.projection_dim == 8
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("a red circle")["input_ids"][-1] == tokenizer.eos_token_id
    assert AutoImageProcessor.from_pretrained(folder, backend="pil").crop_size["height"] == 16
    assert sorted(path.name for path in settings.checkpoints.iterdir()) == [task.checkpoint_id]
    assert not list(folder.glob("*.bin"))
    history = read_history(folder)
    assert history["step"] == list(range(12))
    seen = pq.read_table(folder / EXPOSURE)["seen"].to_pylist()
    assert len(seen) == row["samples"]
    assert max(seen) - min(seen) <= 1

    mlflow = task.tracking.client()
    run = mlflow.get_run(str(row["mlflow_run_id"]))
    assert run.info.status == "FINISHED"
    assert (run.data.params["set_version"], run.data.params["steps"]) == (training_set, "12")
    assert run.data.tags["weights_sha256"] == row["weights_sha256"]
    assert [item.value for item in mlflow.get_metric_history(run.info.run_id, "loss")] == pytest.approx(
        history["loss"][::10]
    )
    (dataset,) = [item.dataset for item in run.inputs.dataset_inputs]
    assert (dataset.name, dataset.digest) == ("training_sets/r", training_set)
    (version,) = mlflow.search_model_versions("name='veclip-r'")
    assert (version.run_id, version.tags["checkpoint_id"]) == (run.info.run_id, task.checkpoint_id)
    assert "model.safetensors" in {Path(item.path).name for item in mlflow.list_artifacts(run.info.run_id, "model")}


def test_two_ranks_do_what_one_does(
    settings: Settings, warehouse: Warehouse, training_set: str, client: Client
) -> None:
    histories = []
    for ranks in (1, 2):
        row = train_checkpoint(
            DaskRunner(client, f"r{ranks}"), task_of(settings, warehouse, training_set, name=f"x{ranks}"), ranks
        )
        histories.append(read_history(Path(str(row["uri"]))))
    assert histories[0]["batch"] == histories[1]["batch"]
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], abs=1e-5)


def test_a_killed_rank_is_started_anew_and_ends_as_undisturbed(
    settings: Settings, warehouse: Warehouse, training_set: str, client: Client
) -> None:
    longer = RECIPE.model_copy(
        update={"training": RECIPE.training.model_copy(update={"steps": 400, "checkpoint_steps": 20})}
    )
    undisturbed = train_checkpoint(
        DaskRunner(client, "calm"), task_of(settings, warehouse, training_set, longer, "calm"), 2
    )
    task = task_of(settings, warehouse, training_set, longer, "killed")
    killed: list[int] = []

    def kill_a_rank() -> None:
        while saved_facts(state_folder(task))[0] < 40:
            time.sleep(0.02)
        pid = list(client.run(os.getpid).values())[1]
        killed.append(saved_facts(state_folder(task))[0])
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_a_rank)
    killer.start()
    row = train_checkpoint(DaskRunner(client, "killed"), task, 2)
    killer.join()
    assert 40 <= killed[0] < 400
    histories = [read_history(Path(str(item["uri"]))) for item in (undisturbed, row)]
    assert histories[1]["step"] == list(range(400))
    assert histories[0]["batch"] == histories[1]["batch"]
    assert histories[0]["loss"] == pytest.approx(histories[1]["loss"], abs=1e-5)
    assert not state_folder(task).exists()
    # Long enough for a sample of the machine, on each rank.
    metrics = task.tracking.client().get_run(str(undisturbed["mlflow_run_id"])).data.metrics
    assert {name.split("/")[1] for name in metrics if name.startswith("system/")} >= {"rank-0", "rank-1"}
    runs = task.tracking.client().search_runs([task.tracking.client().get_experiment_by_name("veclip").experiment_id])
    assert len(runs) == 2


def test_a_failed_training_says_why_and_leaves_a_failed_run(
    settings: Settings, warehouse: Warehouse, training_set: str, client: Client
) -> None:
    wild = {"learning_rate": 1e30, "max_grad_norm": 1e30, "steps": 30}
    recipe = RECIPE.model_copy(update={"training": RECIPE.training.model_copy(update=wild)})
    task = task_of(settings, warehouse, training_set, recipe, "wild")
    with pytest.raises(VeclipError, match="the loss is nan at step"):
        train_checkpoint(DaskRunner(client, "wild"), task, 2)
    assert not task.folder.exists()
    mlflow = task.tracking.client()
    (run,) = mlflow.search_runs([mlflow.get_experiment_by_name("veclip").experiment_id])
    assert run.info.status == "FAILED"


def test_more_ranks_than_workers_are_told(
    settings: Settings, warehouse: Warehouse, training_set: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veclip_pipelines.training.ranks._WAIT_SECONDS", 0.5)
    with pytest.raises(VeclipError, match="training wants 9 ranks, one a Dask worker, and there are 2"):
        train_checkpoint(DaskRunner(client, "many"), task_of(settings, warehouse, training_set), 9)


def test_a_checkpoint_that_lost_its_weights_is_not_found(
    settings: Settings, warehouse: Warehouse, training_set: str, client: Client
) -> None:
    row = train_checkpoint(DaskRunner(client, "x"), task_of(settings, warehouse, training_set, name="x"), 1)
    (Path(str(row["uri"])) / "model.safetensors").unlink()
    assert find_checkpoint(warehouse, "x") is None
