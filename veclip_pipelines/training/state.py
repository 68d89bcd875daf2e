"""A run's state: enough to continue from a step as if nothing had happened. Written as a whole or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.media.storage import put_text, whole_file
from veclip_pipelines.training.optimisation import Average
from veclip_pipelines.training.step_log import FACTS, Progress, StepLog

_FILE = "state.pt"


def save_state(
    folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, average: Average | None, progress: Progress
) -> None:
    """Puts a new state in the place of the last one, in one rename."""
    content = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average.shadow if average else {},
        "step": progress.step,
        "mlflow_run_id": progress.mlflow_run_id,
        "history": [list(asdict(log).values()) for log in progress.history],
    }
    with whole_file(folder / _FILE, durable=True) as scratch:
        torch.save(content, scratch)
    put_text(folder / FACTS, json.dumps({"step": progress.step, "mlflow_run_id": progress.mlflow_run_id}))


def load_state(
    folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, average: Average | None
) -> Progress:
    """Loads the last state that was saved; a run that has none begins at step 0.

    Raises:
        VeclipError: the state does not fit the model.
    """
    path = folder / _FILE
    if not path.is_file():
        return Progress()
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(content["model"])
        optimiser.load_state_dict(content["optimiser"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise VeclipError(f"{path} is of another model: {error}. Take the folder away to begin anew.") from error
    if average is not None and content["average"]:
        average.shadow = content["average"]
    return Progress(content["step"], content["mlflow_run_id"], [StepLog(*row) for row in content["history"]])
