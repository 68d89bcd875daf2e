"""From a training set to a checkpoint: a folder of safetensors, one MLflow run, one row."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.recipe import Recipe
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.schemas import CHECKPOINTS
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.training.samples import read_samples

CODE_VERSION = "checkpoints.1"
EXPERIMENT = "veclip"
HISTORY = "history.parquet"

_LOG_EVERY = 10


@dataclass(frozen=True)
class CheckpointTask:
    """Training as it is sent to a worker."""

    warehouse: Warehouse
    folder: Path
    recipe: Recipe
    set_version: str
    checkpoint_id: str
    tracking: Tracking
    run_id: str
    launched_by: str


def checkpoint_id_of(recipe: Recipe, set_version: str) -> str:
    """Hash of what the weights depend on: training set version, model and training settings, code."""
    parts = [set_version, recipe.model.model_dump_json(), recipe.training.model_dump_json(), CODE_VERSION]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


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


def train_checkpoint(task: CheckpointTask) -> dict[str, object]:
    """Trains, saves, logs to MLflow, writes the row and returns it. Runs on a worker.

    The folder appears under its name only when it is whole; the row only when the folder is there.
    """
    # torch takes seconds to import: this module is also loaded by steps that do not train.
    from veclip_pipelines.training.loop import StepLog, train_clip

    samples = read_samples(task.warehouse, task.recipe.name, task.set_version)
    settings = {"model": task.recipe.model.model_dump(), "training": task.recipe.training.model_dump()}
    history: list[StepLog] = []
    tags = {
        "dagster_run_id": task.run_id,
        "recipe": task.recipe.name,
        "checkpoint_id": task.checkpoint_id,
        "launched_by": task.launched_by,
    }
    with task.tracking.run(EXPERIMENT, f"{task.recipe.name}-{task.checkpoint_id}", tags) as run:
        run.log_parameters(
            {
                **settings["model"],
                **settings["training"],
                "set_version": task.set_version,
                "samples": len(samples),
            }
        )

        def on_step(log: StepLog) -> None:
            history.append(log)
            if log.step % _LOG_EVERY == 0 or log.step == task.recipe.training.steps - 1:
                run.log_metrics({"loss": log.loss, "learning_rate": log.learning_rate, "epoch": log.epoch}, log.step)

        model, tokenizer = train_clip(samples, task.recipe.model, task.recipe.training, on_step)
        task.folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".checkpoint-", dir=task.folder.parent))
        try:
            model.save_pretrained(scratch)
            tokenizer.save_pretrained(scratch)
            pq.write_table(pa.Table.from_pylist([vars(log) for log in history]), scratch / HISTORY)
            weights = hashlib.sha256((scratch / "model.safetensors").read_bytes()).hexdigest()
            # A checkpoint that lost its row or was cut short is made anew.
            shutil.rmtree(task.folder, ignore_errors=True)
            scratch.replace(task.folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        tail = history[-max(1, len(history) // 10) :]
        row: dict[str, object] = {
            "checkpoint_id": task.checkpoint_id,
            "recipe": task.recipe.name,
            "set_version": task.set_version,
            "uri": str(task.folder),
            "weights_sha256": weights,
            "mlflow_run_id": run.run_id,
            "settings": json.dumps(settings, sort_keys=True),
            "samples": len(samples),
            "steps": len(history),
            "final_loss": sum(log.loss for log in tail) / len(tail),
            "trained_at": datetime.now(UTC),
            "run_id": task.run_id,
        }
        run.set_tags({"weights_sha256": weights, "uri": str(task.folder)})
    append_new(
        task.warehouse,
        CHECKPOINTS,
        [row],
        properties={"run_id": task.run_id, "checkpoint_id": task.checkpoint_id},
    )
    return row


def read_history(folder: Path) -> Mapping[str, list[float]]:
    """Loss and learning rate by step, as training wrote them beside the weights."""
    return pq.read_table(folder / HISTORY).to_pydict()  # type: ignore[no-any-return]
