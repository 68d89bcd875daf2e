"""What a run has done so far, for others to read. torch is not imported here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

FACTS = "state.json"


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


def saved_facts(folder: Path) -> tuple[int, str]:
    """Steps done and MLflow run of the last state; (0, "") where there is none."""
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        return int(facts["step"]), str(facts["mlflow_run_id"])
    except (OSError, ValueError, KeyError):
        return 0, ""
