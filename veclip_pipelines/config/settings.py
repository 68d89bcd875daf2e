"""Where things are: one folder, VECLIP_HOME, unless a deployment names another place for one of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from veclip_pipelines.mlflow_tracking import Tracking

DEFAULT_SERVE_URL = "http://127.0.0.1:3080"
#: Where ``veclip ui`` shows them.
DEFAULT_DAGSTER_URL, DEFAULT_MLFLOW_URL = "http://127.0.0.1:3000", "http://127.0.0.1:5000"
#: The embedded engines: no GPU, no network.
DEFAULT_CONCEPT_ENGINE, DEFAULT_FUSION_ENGINE = "tagger", "smollm2-fusion"


@dataclass(frozen=True)
class Settings:
    """All places of one installation.

    Attributes:
        home: VECLIP_HOME, by default the folder ``veclip_home`` of the working folder.
        warehouse: folder or URI of the Delta tables (VECLIP_WAREHOUSE).
        shards: folder or URI of the tars that this platform packs itself, of loose and of fetched pictures (VECLIP_SHARDS).
        models: folder of the installed models (VECLIP_MODELS).
        checkpoints: folder of the trained checkpoints (VECLIP_CHECKPOINTS).
        benchmarks: folder of the benchmarks, one folder each (VECLIP_BENCHMARKS).
        mlflow_tracking_uri: MLflow's store (MLFLOW_TRACKING_URI): SQLite in the home by default.
        dagster_home: Dagster's own storage (DAGSTER_HOME).
        concept_engine: engine profile that describes pictures where none is named (VECLIP_CONCEPT_ENGINE): in the launchpad, and
            for what Dagster starts by itself.
        fusion_engine: the same for the fusion (VECLIP_FUSION_ENGINE).
        serve_url: where ``veclip serve`` answers (VECLIP_SERVE_URL): it stands in the metadata of each run.
        dagster_url, mlflow_url: where a browser finds their UIs (VECLIP_DAGSTER_URL, VECLIP_MLFLOW_URL; of a tracking server its own
            address): a checkpoint in Dagster links to its MLflow run, and that back.
    """

    home: Path
    warehouse: str
    shards: str
    models: Path
    checkpoints: Path
    benchmarks: Path
    mlflow_tracking_uri: str
    dagster_home: Path
    serve_url: str
    dagster_url: str
    mlflow_url: str
    concept_engine: str
    fusion_engine: str

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Reads the environment; a variable that is empty counts as unset."""
        env = os.environ if env is None else env

        def get(name: str, default: str) -> str:
            return env.get(name) or default

        home = Path(get("VECLIP_HOME", "veclip_home")).expanduser().resolve()
        tracking = get("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")
        served = Tracking(tracking, None).is_server
        return cls(
            home=home,
            warehouse=get("VECLIP_WAREHOUSE", str(home / "warehouse")),
            shards=get("VECLIP_SHARDS", str(home / "shards")),
            models=Path(get("VECLIP_MODELS", str(home / "models"))).expanduser(),
            checkpoints=Path(get("VECLIP_CHECKPOINTS", str(home / "checkpoints"))).expanduser(),
            benchmarks=Path(get("VECLIP_BENCHMARKS", str(home / "benchmarks"))).expanduser(),
            mlflow_tracking_uri=tracking,
            dagster_home=Path(get("DAGSTER_HOME", str(home / "dagster_home"))).expanduser(),
            serve_url=get("VECLIP_SERVE_URL", DEFAULT_SERVE_URL).rstrip("/"),
            dagster_url=get("VECLIP_DAGSTER_URL", DEFAULT_DAGSTER_URL).rstrip("/"),
            mlflow_url=get("VECLIP_MLFLOW_URL", tracking if served else DEFAULT_MLFLOW_URL).rstrip("/"),
            concept_engine=get("VECLIP_CONCEPT_ENGINE", DEFAULT_CONCEPT_ENGINE),
            fusion_engine=get("VECLIP_FUSION_ENGINE", DEFAULT_FUSION_ENGINE),
        )

    @property
    def mlflow_artifacts(self) -> str:
        """Where MLflow keeps files when its store is our own SQLite; a tracking server decides for itself."""
        return (self.home / "mlflow" / "artifacts").as_uri()

    @property
    def crawl_file(self) -> Path:
        """The user's settings for fetching, landing places and the like; it need not be there."""
        return self.home / "crawl.yaml"

    @property
    def cluster_file(self) -> Path:
        """What ``veclip cluster up`` started: address, dashboard, process ids."""
        return self.home / "cluster.json"

    def environment(self) -> dict[str, str]:
        """The variables that make a child process see the same places, whatever its working folder."""
        return {
            "VECLIP_HOME": str(self.home),
            "VECLIP_WAREHOUSE": self.warehouse,
            "VECLIP_SHARDS": self.shards,
            "VECLIP_MODELS": str(self.models),
            "VECLIP_CHECKPOINTS": str(self.checkpoints),
            "VECLIP_BENCHMARKS": str(self.benchmarks),
            "MLFLOW_TRACKING_URI": self.mlflow_tracking_uri,
            "DAGSTER_HOME": str(self.dagster_home),
            "VECLIP_SERVE_URL": self.serve_url,
            "VECLIP_DAGSTER_URL": self.dagster_url,
            "VECLIP_MLFLOW_URL": self.mlflow_url,
            "VECLIP_CONCEPT_ENGINE": self.concept_engine,
            "VECLIP_FUSION_ENGINE": self.fusion_engine,
        }
