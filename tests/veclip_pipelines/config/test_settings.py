"""Where things are."""

from __future__ import annotations

from pathlib import Path

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
