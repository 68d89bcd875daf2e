"""Where things are: all in one folder, VECLIP_HOME, unless a deployment names another place for some of them.

A setting is declared once, as a field: its name, type, default, variable and description. Reading the environment, passing it on to
child processes, and ``veclip env`` all follow from that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

#: Where ``veclip ui`` shows them.
DEFAULT_DAGSTER_URL, DEFAULT_MLFLOW_URL = "http://127.0.0.1:3000", "http://127.0.0.1:5000"
#: The embedded engines: they need no GPU and no network.
DEFAULT_CONCEPT_ENGINE, DEFAULT_FUSION_ENGINE = "tagger", "smollm2-fusion"

Folder = Annotated[Path, AfterValidator(Path.expanduser)]
Address = Annotated[str, AfterValidator(lambda url: url.rstrip("/"))]


def is_tracking_server(uri: str) -> bool:
    """Whether an MLflow tracking URI is that of a server, which keeps its runs' files itself and has its own UI."""
    return uri.startswith(("http://", "https://"))


def _folder(name: str) -> Callable[[dict[str, Any]], Path]:
    """The default for a folder in the home, which is already known when this is called."""
    return lambda known: Path(known["home"] / name)


def _place(name: str) -> Callable[[dict[str, Any]], str]:
    """The same for a setting that may also be a URI."""
    return lambda known: str(known["home"] / name)


def _mlflow_store(known: dict[str, Any]) -> str:
    return f"sqlite:///{known['home'] / 'mlflow' / 'mlflow.db'}"


def _mlflow_url(known: dict[str, Any]) -> str:
    tracking: str = known["mlflow_tracking_uri"]
    return tracking if is_tracking_server(tracking) else DEFAULT_MLFLOW_URL


class Settings(BaseSettings):
    """All places of one installation. Made by ``from_env``; immutable, and equal if all values are equal."""

    model_config = SettingsConfigDict(frozen=True, case_sensitive=True, populate_by_name=True)

    home: Annotated[Folder, AfterValidator(Path.resolve)] = Field(
        Path("veclip_home"),
        validation_alias="VECLIP_HOME",
        description="the folder for everything that has no place of its own; by default veclip_home in the working folder",
    )
    warehouse: str = Field(
        default_factory=_place("warehouse"),
        validation_alias="VECLIP_WAREHOUSE",
        description="folder or URI of the Delta tables",
    )
    shards: str = Field(
        default_factory=_place("shards"),
        validation_alias="VECLIP_SHARDS",
        description="folder or URI of the tars that this platform packs itself, from loose and from fetched pictures",
    )
    models: Folder = Field(
        default_factory=_folder("models"),
        validation_alias="VECLIP_MODELS",
        description="folder of the installed models",
    )
    checkpoints: Folder = Field(
        default_factory=_folder("checkpoints"),
        validation_alias="VECLIP_CHECKPOINTS",
        description="folder of the trained checkpoints",
    )
    benchmarks: Folder = Field(
        default_factory=_folder("benchmarks"),
        validation_alias="VECLIP_BENCHMARKS",
        description="folder of the benchmarks, one subfolder each",
    )
    mlflow_tracking_uri: str = Field(
        default_factory=_mlflow_store,
        validation_alias="MLFLOW_TRACKING_URI",
        description="MLflow's store: SQLite in the home by default",
    )
    dagster_home: Folder = Field(
        default_factory=_folder("dagster_home"),
        validation_alias="DAGSTER_HOME",
        description="Dagster's own storage",
    )
    serve_url: Address = Field(
        "http://127.0.0.1:3080",
        validation_alias="VECLIP_SERVE_URL",
        description="where veclip serve answers: the metadata of each run links to it",
    )
    dagster_url: Address = Field(
        DEFAULT_DAGSTER_URL,
        validation_alias="VECLIP_DAGSTER_URL",
        description="where a browser finds Dagster's UI: an MLflow run links to it",
    )
    mlflow_url: Address = Field(
        default_factory=_mlflow_url,
        validation_alias="VECLIP_MLFLOW_URL",
        description="where a browser finds MLflow's UI; for a tracking server, its own address: a checkpoint links to it",
    )
    concept_engine: str = Field(
        DEFAULT_CONCEPT_ENGINE,
        validation_alias="VECLIP_CONCEPT_ENGINE",
        description="engine profile that describes pictures if none is named: in the launchpad, and for what Dagster "
        "starts automatically",
    )
    fusion_engine: str = Field(
        DEFAULT_FUSION_ENGINE,
        validation_alias="VECLIP_FUSION_ENGINE",
        description="the same for the fusion",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the constructor's arguments count: the environment is read by ``from_env`` alone."""
        del cls, settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Reads the environment, or the mapping given instead; an empty variable counts as unset."""
        env = os.environ if env is None else env
        source = EnvSettingsSource(cls)
        source.env_vars = {variable: env[variable] for variable in cls.variables().values() if env.get(variable)}
        return cls(**source())

    @classmethod
    def variables(cls) -> dict[str, str]:
        """The environment variable of each setting, by the setting's name."""
        return {name: str(field.validation_alias) for name, field in cls.model_fields.items()}

    def environment(self) -> dict[str, str]:
        """The variables that make a child process use the same places, whatever its working folder."""
        return {variable: str(getattr(self, name)) for name, variable in self.variables().items()}

    @property
    def mlflow_artifacts(self) -> str:
        """Where MLflow keeps files if its store is our own SQLite; a tracking server decides that itself."""
        return (self.home / "mlflow" / "artifacts").as_uri()

    @property
    def crawl_file(self) -> Path:
        """The user's settings for fetching, landing places and the like; the file is optional."""
        return self.home / "crawl.yaml"

    @property
    def cluster_file(self) -> Path:
        """What ``veclip cluster up`` started: address, dashboard, process ids."""
        return self.home / "cluster.json"
