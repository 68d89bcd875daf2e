"""MLflow's SQLite store: made beside its final place, once, and the same as MLflow makes it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from veclip_pipelines import mlflow_tracking
from veclip_pipelines.mlflow_tracking import Tracking, make_store

pytestmark = pytest.mark.slow


def test_mlflow_finds_its_store_as_it_would_have_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "new" / "mlflow.db"
    make_store(place)
    assert list(place.parent.iterdir()) == [place], "nothing is left beside it"
    with sqlite3.connect(place) as ours:
        made = ours.execute("SELECT type, name FROM sqlite_master ORDER BY 1, 2").fetchall()
        revision = ours.execute("SELECT * FROM alembic_version").fetchall()
    monkeypatch.setattr(mlflow_tracking, "make_store", lambda path: None)
    Tracking(f"sqlite:///{tmp_path}/theirs.db", None).client().search_experiments()
    with sqlite3.connect(tmp_path / "theirs.db") as theirs:
        assert theirs.execute("SELECT type, name FROM sqlite_master ORDER BY 1, 2").fetchall() == made
        assert theirs.execute("SELECT * FROM alembic_version").fetchall() == revision


def test_a_store_that_another_process_made_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.db import utils

    place = tmp_path / "mlflow.db"

    def another_is_first(engine: object) -> None:
        place.write_bytes(b"of another")
        Path(str(engine.url.database)).write_bytes(b"ours")  # type: ignore[attr-defined]

    monkeypatch.setattr(utils, "_initialize_tables", another_is_first)
    make_store(place)
    assert place.read_bytes() == b"of another"
    assert list(tmp_path.iterdir()) == [place]
    make_store(place)
