"""Where things are: one folder, VECLIP_HOME, unless a deployment names another place for one of them.

A setting is declared once, as a field: its name, type, default, variable and description. What reads the environment, what a child
process is given and what ``veclip env`` prints come from there.
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
#: The embedded engines: no GPU, no network.
DEFAULT_CONCEPT_ENGINE, DEFAULT_FUSION_ENGINE = "tagger", "smollm2-fusion"

Folder = Annotated[Path, AfterValidator(Path.expanduser)]
Address = Annotated[str, AfterValidator(lambda url: url.rstrip("/"))]


def is_tracking_server(uri: str) -> bool:
    """Whether a tracking URI of MLflow is a server's address: it keeps the files of its runs and has a UI of its own."""
    return uri.startswith(("http://", "https://"))


def _folder(name: str) -> Callable[[dict[str, Any]], Path]:
    """The default of a folder in the home, which is known by then."""
    return lambda known: Path(known["home"] / name)


def _place(name: str) -> Callable[[dict[str, Any]], str]:
    """The same of what may be a URI as well."""
    return lambda known: str(known["home"] / name)


def _mlflow_store(known: dict[str, Any]) -> str:
    return f"sqlite:///{known['home'] / 'mlflow' / 'mlflow.db'}"


def _mlflow_url(known: dict[str, Any]) -> str:
    tracking: str = known["mlflow_tracking_uri"]
    return tracking if is_tracking_server(tracking) else DEFAULT_MLFLOW_URL


class Settings(BaseSettings):
    """All places of one installation. Made by ``from_env``; two of the same values are equal, and neither can be changed."""

    model_config = SettingsConfigDict(frozen=True, case_sensitive=True, populate_by_name=True)

    home: Annotated[Folder, AfterValidator(Path.resolve)] = Field(
        Path("veclip_home"),
        validation_alias="VECLIP_HOME",
        description="the folder of all that has no place of its own; by default veclip_home in the working folder",
    )
    warehouse: str = Field(
        default_factory=_place("warehouse"),
        validation_alias="VECLIP_WAREHOUSE",
        description="folder or URI of the Delta tables",
    )
    shards: str = Field(
        default_factory=_place("shards"),
        validation_alias="VECLIP_SHARDS",
        description="folder or URI of the tars that this platform packs itself, of loose and of fetched pictures",
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
        description="folder of the benchmarks, one folder each",
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
        description="where veclip serve answers: it stands in the metadata of each run",
    )
    dagster_url: Address = Field(
        DEFAULT_DAGSTER_URL,
        validation_alias="VECLIP_DAGSTER_URL",
        description="where a browser finds Dagster's UI: an MLflow run links to it",
    )
    mlflow_url: Address = Field(
        default_factory=_mlflow_url,
        validation_alias="VECLIP_MLFLOW_URL",
        description="where a browser finds MLflow's UI, of a tracking server its own address: a checkpoint links to it",
    )
    concept_engine: str = Field(
        DEFAULT_CONCEPT_ENGINE,
        validation_alias="VECLIP_CONCEPT_ENGINE",
        description="engine profile that describes pictures where none is named: in the launchpad, and for what Dagster "
        "starts by itself",
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
        """What the constructor is given is all: only ``from_env`` reads an environment, and then one alone."""
        del cls, settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Reads the environment, or what is given in its place; a variable that is empty counts as unset."""
        env = os.environ if env is None else env
        source = EnvSettingsSource(cls)
        source.env_vars = {variable: env[variable] for variable in cls.variables().values() if env.get(variable)}
        return cls(**source())

    @classmethod
    def variables(cls) -> dict[str, str]:
        """The environment variable of each setting, by the setting's name."""
        return {name: str(field.validation_alias) for name, field in cls.model_fields.items()}

    def environment(self) -> dict[str, str]:
        """The variables that make a child process see the same places, whatever its working folder."""
        return {variable: str(getattr(self, name)) for name, variable in self.variables().items()}

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
