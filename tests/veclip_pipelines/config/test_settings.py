"""Settings: where things are."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from veclip_pipelines.config.settings import Settings


def test_everything_is_in_the_home_unless_named() -> None:
    settings = Settings.from_env({"VECLIP_HOME": "/data/veclip", "VECLIP_MODELS": "", "DAGSTER_HOME": "/srv/dagster"})
    assert settings.warehouse == "/data/veclip/warehouse"
    assert settings.models == Path("/data/veclip/models")
    assert settings.dagster_home == Path("/srv/dagster")
    assert settings.mlflow_tracking_uri == "sqlite:////data/veclip/mlflow/mlflow.db"


def test_the_environment_round_trips() -> None:
    settings = Settings.from_env(
        {"VECLIP_HOME": "/data/veclip", "VECLIP_WAREHOUSE": "s3://bucket/w", "VECLIP_SERVE_URL": "http://127.0.0.1:9/"}
    )
    assert Settings.from_env(settings.environment()) == settings
    assert settings.serve_url == "http://127.0.0.1:9"


def test_where_the_uis_are() -> None:
    assert Settings.from_env({}).mlflow_url == "http://127.0.0.1:5000"
    served = Settings.from_env(
        {"MLFLOW_TRACKING_URI": "https://mlflow.example/", "VECLIP_DAGSTER_URL": "https://dagster.example/"}
    )
    assert (served.mlflow_url, served.dagster_url) == ("https://mlflow.example", "https://dagster.example")
    assert Settings.from_env({"VECLIP_MLFLOW_URL": "https://ui.example"}).mlflow_url == "https://ui.example"
    assert Settings.from_env(served.environment()) == served


def test_the_default_engines_are_the_installations() -> None:
    assert Settings.from_env({}).concept_engine == "tagger"
    settings = Settings.from_env({"VECLIP_CONCEPT_ENGINE": "llava-1.5-7b", "VECLIP_FUSION_ENGINE": "qwen3-4b"})
    assert (settings.concept_engine, settings.fusion_engine) == ("llava-1.5-7b", "qwen3-4b")
    assert Settings.from_env(settings.environment()) == settings


def test_a_setting_is_declared_once() -> None:
    variables = Settings.variables()
    given = {variable: f"/x/{name}" for name, variable in variables.items()}
    settings = Settings.from_env(given)
    assert settings.environment() == given, "each is read from its variable, and handed on by it"
    assert all(field.description for field in Settings.model_fields.values())
    assert len(set(variables.values())) == len(variables)


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_env(dict.fromkeys(Settings.variables().values(), "")) == Settings.from_env({})


def test_the_environment_is_read_by_from_env_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECLIP_HOME", "/data/veclip")
    monkeypatch.setenv("VECLIP_MODELS", "~/models")
    assert Settings.from_env({"VECLIP_HOME": "/other"}).models == Path("/other/models")
    assert Settings(home=Path("/other")).models == Path("/other/models")
    assert Settings.from_env().models == Path("~/models").expanduser()
    assert Settings.from_env({"models": "/elsewhere", "veclip_models": "/elsewhere"}) == Settings.from_env({})
    assert Settings.from_env({"VECLIP_HOME": "some"}).home == Path("some").resolve()


def test_settings_are_a_value() -> None:
    settings = Settings.from_env({"VECLIP_HOME": "/data/veclip"})
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert hash(settings) == hash(Settings.from_env({"VECLIP_HOME": "/data/veclip"}))
    with pytest.raises(ValidationError, match="frozen"):
        settings.home = Path("/other")  # type: ignore[misc]
    with pytest.raises(ValidationError, match="not permitted"):
        Settings(hoem="/other")  # type: ignore[call-arg]


def test_only_entry_points_read_the_environment() -> None:
    root = Path(__file__).parents[3]
    found = set()
    for place in ("veclip_pipelines", "assets", "resources"):
        for file in (root / place).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if (isinstance(node, ast.Attribute) and node.attr == "from_env") or (
                    isinstance(node, ast.Call)
                    and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Settings"
                ):
                    found.add(str(file.relative_to(root)))
    assert found == {"resources/home.py", "veclip_pipelines/commands/context.py"}
