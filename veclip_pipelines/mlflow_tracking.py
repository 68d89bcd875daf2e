"""MLflow through its client, without its global state: one MLflow run per checkpoint. (dagster_mlflow is a legacy resource: global
state, and one MLflow run per Dagster run.)
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from veclip_pipelines.config.settings import is_tracking_server

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SYSTEM_SECONDS = 2


@dataclass(frozen=True)
class DatasetVersion:
    """A data set as MLflow shows it with a run.

    Attributes:
        digest: its version; MLflow takes 36 characters at most.
        source: where it is stored.
        schema: JSON.
    """

    name: str
    digest: str
    source: str
    schema: str


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

    def log_dataset(self, dataset: DatasetVersion, context: str) -> None:
        """Records a data set that the run reads, with its version."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": dataset.source})
        entity = Dataset(dataset.name, dataset.digest[:36], "delta_table", source, dataset.schema)
        self.client.log_inputs(self.run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", context)])])

    @contextlib.contextmanager
    def system_metrics(self, rank: int, world: int) -> Iterator[None]:
        """Logs processor, memory and GPU of this rank's machine while the context lasts."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(
            self.run_id,
            sampling_interval=_SYSTEM_SECONDS,
            resume_logging=True,
            node_id=f"rank-{rank}" if world > 1 else None,
            tracking_uri=self.client.tracking_uri,
        )
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()

    def log_folder(self, folder: Path, name: str) -> None:
        """Copies a folder into the run's artifacts."""
        self.client.log_artifacts(self.run_id, str(folder), name)

    def register_model(self, name: str, artifact: str, tags: Mapping[str, str]) -> str:
        """Registers a folder of the run's artifacts as a new version of a model, once per run; returns its version."""
        from mlflow.exceptions import MlflowException

        for version in self.client.search_model_versions(f"name='{name}'"):
            if version.run_id == self.run_id:
                return str(version.version)
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self.client.get_run(self.run_id).info.artifact_uri}/{artifact}"
        return str(self.client.create_model_version(name, source, self.run_id, tags=dict(tags)).version)

    def end(self, status: Literal["FINISHED", "FAILED"]) -> None:
        self.client.set_terminated(self.run_id, status)


@dataclass(frozen=True)
class Tracking:
    """Where MLflow keeps its runs.

    Attributes:
        tracking_uri: a database URI or a tracking server.
        artifact_location: where a new experiment keeps files; a server decides for itself.
    """

    tracking_uri: str
    artifact_location: str | None

    @property
    def is_server(self) -> bool:
        """Whether it is a tracking server, which also keeps the files of its runs."""
        return is_tracking_server(self.tracking_uri)

    @property
    def is_database(self) -> bool:
        """Whether it is a database other than an SQLite file."""
        return urlsplit(self.tracking_uri).scheme not in ("", "http", "https", "sqlite", "file")

    def client(self) -> MlflowClient:
        """A client; the SQLite file is made if it is missing."""
        from mlflow import MlflowClient

        if self.tracking_uri.startswith("sqlite:///"):
            make_store(Path(self.tracking_uri.removeprefix("sqlite:///")))
        return MlflowClient(tracking_uri=self.tracking_uri)

    def begin(self, experiment: str, name: str, tags: Mapping[str, str]) -> TrackedRun:
        """Opens a run; whoever opened it ends it."""
        client = self.client()
        run = client.create_run(self._experiment_id(client, experiment), tags=dict(tags), run_name=name)
        return TrackedRun(client, run.info.run_id)

    def reopen(self, run_id: str) -> TrackedRun:
        """An earlier run, to add to it."""
        return TrackedRun(self.client(), run_id)

    def run_url(self, run_id: str, ui: str) -> str:
        """Where MLflow's UI at address ``ui`` shows a run."""
        return f"{ui}/#/experiments/{self.client().get_run(run_id).info.experiment_id}/runs/{run_id}"

    def _experiment_id(self, client: MlflowClient, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(name)
        if found is None:
            location = None if self.is_server else self.artifact_location
            try:
                return client.create_experiment(name, artifact_location=location)
            except MlflowException:
                # Another worker created it in between.
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)


def make_store(path: Path) -> None:
    """Makes MLflow's SQLite file with its tables where it is missing.

    MLflow would do so at its first use, by some fifty migrations that wait for the disk 1,500 times: 7 s and more. A file that nobody
    reads yet need not outlive a power cut, so it is written without waiting, 1.4 s, and put in its place when it is whole. Of two
    processes that do this at once one puts its file there and the other throws its own away.
    """
    if path.exists():
        return
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine, event

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-store-", dir=path.parent) as folder:
        new = Path(folder) / path.name
        engine = create_engine(f"sqlite:///{new}")
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
        _initialize_tables(engine)
        engine.dispose()
        with new.open("rb") as file:
            os.fsync(file.fileno())
        # Unlike a rename it never takes the place of a store that another process has begun to use.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(new)
