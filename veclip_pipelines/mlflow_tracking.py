"""MLflow by its client, without its global state: one MLflow run a checkpoint.

(dagster_mlflow is a legacy resource: global state, and one MLflow run a Dagster run.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class TrackedRun:
    """An MLflow run that is open."""

    client: MlflowClient
    run_id: str

    def log_parameters(self, parameters: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in parameters.items()])

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, metrics=[Metric(key, value, now, step) for key, value in metrics.items()])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.client.set_tag(self.run_id, key, value)


@dataclass(frozen=True)
class Tracking:
    """Where MLflow keeps its runs.

    Attributes:
        tracking_uri: a database URI or a tracking server.
        artifact_location: where a new experiment keeps files; a server decides for itself.
    """

    tracking_uri: str
    artifact_location: str | None

    def client(self) -> MlflowClient:
        """A client; the SQLite file's folder is made where it is missing."""
        from mlflow import MlflowClient

        if self.tracking_uri.startswith("sqlite:///"):
            Path(self.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=self.tracking_uri)

    @contextmanager
    def run(self, experiment: str, name: str, tags: Mapping[str, str]) -> Iterator[TrackedRun]:
        """Opens a run; it ends FINISHED, or FAILED where the body raises."""
        client = self.client()
        run = client.create_run(self._experiment_id(client, experiment), tags=dict(tags), run_name=name)
        tracked = TrackedRun(client, run.info.run_id)
        try:
            yield tracked
        except BaseException:
            client.set_terminated(tracked.run_id, "FAILED")
            raise
        client.set_terminated(tracked.run_id, "FINISHED")

    def reopen(self, run_id: str) -> TrackedRun:
        """An earlier run, to add scores to it."""
        return TrackedRun(self.client(), run_id)

    def _experiment_id(self, client: MlflowClient, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(name)
        if found is None:
            server = self.tracking_uri.startswith(("http://", "https://"))
            try:
                return client.create_experiment(name, artifact_location=None if server else self.artifact_location)
            except MlflowException:
                # Another worker created it in between.
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)
