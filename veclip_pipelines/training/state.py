"""Where a run stands: enough to go on from a step as if nothing had happened. Written whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.training.optimisation import Average

_FILE, _FACTS = "state.pt", "state.json"


@dataclass(frozen=True)
class StepLog:
    """What one optimiser step did.

    Attributes:
        loss: of the whole batch, over all ranks.
        batch: hash over the batch's sample ids in their order: two runs that agree here have seen the same.
    """

    step: int
    epoch: int
    loss: float
    learning_rate: float
    batch: str


@dataclass
class Progress:
    """What a run has done so far.

    Attributes:
        step: steps that are done.
        mlflow_run_id: the run that they are logged to.
    """

    step: int = 0
    mlflow_run_id: str = ""
    history: list[StepLog] = field(default_factory=list)


def save_state(
    folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, average: Average | None, progress: Progress
) -> None:
    """Puts a new state in the place of the last one, in one rename."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average.shadow if average else {},
        "step": progress.step,
        "mlflow_run_id": progress.mlflow_run_id,
        "history": [list(asdict(log).values()) for log in progress.history],
    }
    scratch = folder / f".{_FILE}.{os.getpid()}"
    with scratch.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(folder / _FILE)
    facts = folder / f".{_FACTS}.{os.getpid()}"
    facts.write_text(json.dumps({"step": progress.step, "mlflow_run_id": progress.mlflow_run_id}), "utf-8")
    facts.replace(folder / _FACTS)


def load_state(
    folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, average: Average | None
) -> Progress:
    """Takes up the last state that was saved; a run that has none begins at step 0.

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


def saved_facts(folder: Path) -> tuple[int, str]:
    """Steps done and MLflow run of the last state; (0, "") where there is none."""
    try:
        facts = json.loads((folder / _FACTS).read_text("utf-8"))
        return int(facts["step"]), str(facts["mlflow_run_id"])
    except (OSError, ValueError, KeyError):
        return 0, ""
