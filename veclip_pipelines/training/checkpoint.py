"""From a training set to a checkpoint: a folder of safetensors, one MLflow run, a registered model, one row."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from veclip_pipelines.config.recipe import Recipe
from veclip_pipelines.mlflow_tracking import DatasetVersion, Tracking
from veclip_pipelines.schemas.training_schemas import CHECKPOINTS
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.training.exposure import write_exposure
from veclip_pipelines.training.loader import LoaderSettings
from veclip_pipelines.training.samples import SampleFile, describe, write_samples
from veclip_pipelines.training.step_log import StepLog, saved_facts

if TYPE_CHECKING:
    from veclip_pipelines.training.loop import Trained

CODE_VERSION = "checkpoints.2"
EXPERIMENT = "veclip"
HISTORY = "history.parquet"

_LOG_EVERY = 10


@dataclass(frozen=True)
class CheckpointTask:
    """Training as it is sent to a worker.

    Attributes:
        config: the CLIPConfig that the recipe names, as JSON has it.
        loader: how each rank reads its pictures.
        note: what MLflow shows above the run, Markdown: the ways back to Dagster and to the pages.
    """

    warehouse: Warehouse
    folder: Path
    recipe: Recipe
    config: Mapping[str, Any]
    set_version: str
    checkpoint_id: str
    tracking: Tracking
    run_id: str
    launched_by: str
    loader: LoaderSettings = field(default_factory=LoaderSettings)
    note: str = ""


def checkpoint_id_of(recipe: Recipe, config: Mapping[str, Any], set_version: str) -> str:
    """Hash of what the weights depend on: training set version, model and training settings, code."""
    settings = [
        recipe.model.model_dump_json(),
        json.dumps(dict(config), sort_keys=True),
        # How often a state is kept changes no weight.
        recipe.training.model_dump_json(exclude={"checkpoint_steps"}),
    ]
    return hashlib.sha256("\0".join([set_version, *settings, CODE_VERSION]).encode()).hexdigest()[:16]


def find_checkpoint(warehouse: Warehouse, checkpoint_id: str) -> dict[str, object] | None:
    """The row of a checkpoint whose weights are still there, or None."""
    rows = read_rows(
        warehouse,
        "SELECT * FROM checkpoints WHERE checkpoint_id = ?",
        [checkpoint_id],
        tables=["checkpoints"],
    )
    if rows and (Path(str(rows[0]["uri"])) / "model.safetensors").is_file():
        return rows[0]
    return None


def state_folder(task: CheckpointTask) -> Path:
    """What a training needs while it lasts: its samples, and the state that it resumes from."""
    return task.folder.parent / f".training-{task.checkpoint_id}"


def prepare_training(task: CheckpointTask) -> int:
    """Writes the samples for the ranks where they are not there yet; says how many."""
    path = state_folder(task) / "samples.arrow"
    if path.is_file():
        return len(SampleFile(path))
    return write_samples(task.warehouse, task.recipe.name, task.set_version, path)


def begin_run(task: CheckpointTask) -> str:
    """Opens the MLflow run of a training, or takes up the one of a training that was cut off; its id."""
    if known := saved_facts(state_folder(task))[1]:
        return known
    tags = {
        "dagster_run_id": task.run_id,
        "recipe": task.recipe.name,
        "checkpoint_id": task.checkpoint_id,
        "launched_by": task.launched_by,
        # What MLflow's UI shows as the run's description.
        **({"mlflow.note.content": task.note} if task.note else {}),
    }
    run = task.tracking.begin(EXPERIMENT, f"{task.recipe.name}-{task.checkpoint_id}", tags)
    samples = SampleFile(state_folder(task) / "samples.arrow")
    run.log_parameters(
        {
            **{f"model.{name}": value for name, value in task.recipe.model.model_dump().items()},
            **{name: value for name, value in task.recipe.training.model_dump().items() if value is not None},
            "set_version": task.set_version,
            "samples": len(samples),
        }
    )
    run.log_dataset(
        DatasetVersion(f"training_sets/{task.recipe.name}", task.set_version, task.warehouse.root, describe(samples)),
        "training",
    )
    return run.run_id


def run_rank(
    task: CheckpointTask, rank: int, world: int, address: str, mlflow_run_id: str, before_step: Callable[[], None]
) -> dict[str, Any]:
    """One rank's training; the first saves what was made and returns the checkpoint's row. Runs on a worker."""
    # torch takes seconds to import: this module is also loaded by steps that do not train.
    import torch

    from veclip_pipelines.training.group import joined
    from veclip_pipelines.training.loop import TrainingJob, train

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    folder = state_folder(task)
    job = TrainingJob(
        folder / "samples.arrow", folder, task.config, task.recipe.model, task.recipe.training, task.loader
    )
    run = task.tracking.reopen(mlflow_run_id)
    waiting: list[StepLog] = []

    def log(done: StepLog) -> None:
        waiting.append(done)
        if done.step % _LOG_EVERY == 0:
            run.log_metrics({"loss": done.loss, "learning_rate": done.learning_rate, "epoch": done.epoch}, done.step)

    with joined(rank, world, address, device) as group, run.system_metrics(rank, world):
        trained = train(job, group, on_step=log, before_step=before_step, mlflow_run_id=mlflow_run_id)
        row = _save(task, trained, mlflow_run_id, world) if rank == 0 else {}
        group.wait()
    return row


def _save(task: CheckpointTask, trained: Trained, mlflow_run_id: str, world: int) -> dict[str, Any]:
    """Writes the checkpoint's folder: it appears under its name only when it is whole."""
    from veclip_pipelines.training.embedding import preprocessor_config
    from veclip_pipelines.training.loop import plan_of

    history, samples = trained.progress.history, SampleFile(state_folder(task) / "samples.arrow")
    scratch = Path(tempfile.mkdtemp(prefix=".checkpoint-", dir=task.folder.parent))
    try:
        trained.model.save_pretrained(scratch)
        trained.tokenizer.save_pretrained(scratch)
        size = int(task.config["vision_config"]["image_size"])
        (scratch / "preprocessor_config.json").write_text(json.dumps(preprocessor_config(size), indent=2), "utf-8")
        pq.write_table(pa.Table.from_pylist([vars(log) for log in history]), scratch / HISTORY)
        write_exposure(scratch, samples, plan_of(samples, task.recipe.training).seen(len(history)))
        weights = hashlib.sha256((scratch / "model.safetensors").read_bytes()).hexdigest()
        # A checkpoint that lost its row or was cut short is made anew.
        shutil.rmtree(task.folder, ignore_errors=True)
        scratch.replace(task.folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    tail = history[-max(1, len(history) // 10) :]
    settings = {
        "model": task.recipe.model.model_dump(),
        "config": dict(task.config),
        "training": task.recipe.training.model_dump(),
        "ranks": world,
    }
    return {
        "checkpoint_id": task.checkpoint_id,
        "recipe": task.recipe.name,
        "set_version": task.set_version,
        "uri": str(task.folder),
        "weights_sha256": weights,
        "mlflow_run_id": mlflow_run_id,
        "settings": json.dumps(settings, sort_keys=True),
        "samples": len(samples),
        "steps": len(history),
        "final_loss": sum(log.loss for log in tail) / len(tail),
        "trained_at": datetime.now(UTC),
        "run_id": task.run_id,
    }


def finish_training(task: CheckpointTask, row: Mapping[str, Any]) -> None:
    """Registers the model with MLflow, ends its run, writes the checkpoint's row and takes the state away."""
    run = task.tracking.reopen(str(row["mlflow_run_id"]))
    run.set_tags({"weights_sha256": str(row["weights_sha256"]), "uri": str(row["uri"])})
    run.log_folder(task.folder, "model")
    tags = {"checkpoint_id": task.checkpoint_id, "set_version": task.set_version}
    run.register_model(f"veclip-{task.recipe.name}", "model", tags)
    run.end("FINISHED")
    append_new(
        task.warehouse,
        CHECKPOINTS,
        [dict(row)],
        properties={"run_id": task.run_id, "checkpoint_id": task.checkpoint_id},
    )
    shutil.rmtree(state_folder(task), ignore_errors=True)


def read_history(folder: Path) -> Mapping[str, list[Any]]:
    """Loss and learning rate by step, as training wrote them beside the weights."""
    return pq.read_table(folder / HISTORY).to_pydict()  # type: ignore[no-any-return]
