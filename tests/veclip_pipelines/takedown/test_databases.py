"""What was taken down is also found outside files: in Dagster's and MLflow's Postgres, and in an MLflow tracking server."""

from pathlib import Path

import dagster as dg
import pytest
from builders import picture
from command_line import call, process
from lineage_story import TEXT, take_down, tell
from mlflow import MlflowClient
from servers import mlflow_server, postgres_server

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.verification import verify


@pytest.fixture
def gone(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> Settings:
    """A sample with a telling AltText, taken down, with nothing held back."""
    tell(tmp_path, settings, warehouse, alt_texts={2: TEXT})
    take_down(settings, warehouse, picture(2))
    return settings


@dg.asset
def telling() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"preview": dg.MetadataValue.md(f"| {TEXT} |")})


@pytest.mark.slow
def test_in_postgres(gone: Settings, warehouse: Warehouse) -> None:
    with postgres_server("dagster", "mlflow") as server:
        gone.dagster_home.mkdir(parents=True, exist_ok=True)
        storage = f"storage:\n  postgres:\n    postgres_url: {server}/dagster\n"
        (gone.dagster_home / "dagster.yaml").write_text(f"telemetry:\n  enabled: false\n{storage}")
        done = call("takedown", "verify")
        assert (done.returncode, "nothing is left" in done.stdout) == (0, True), done.stdout + done.stderr
        with dg.DagsterInstance.from_config(str(gone.dagster_home)) as instance:
            assert dg.materialize([telling], instance=instance).success
        done = process("takedown", "verify", COLUMNS="200")
        assert done.returncode == 1
        assert "event_logs" in done.stdout
        assert "secret" not in done.stdout

        tracked = gone.model_copy(update={"mlflow_tracking_uri": f"{server}/mlflow"})
        Tracking(tracked.mlflow_tracking_uri, None).begin("e", "name", {"note": f"looks like {TEXT}"})
        found = verify(warehouse, tracked)
        assert {(one.state, one.kind) for one in found.remnants} == {("found", "text")}
        assert not found.is_clean
    found = verify(warehouse, tracked)
    assert [uri for uri in found.unreadable if uri.startswith("postgresql+psycopg2://veclip:***@")]
    assert not found.is_clean


@pytest.mark.slow
def test_in_a_tracking_server(
    gone: Settings, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    with mlflow_server(tmp_path / "server") as url:
        served = gone.model_copy(update={"mlflow_tracking_uri": url})
        run = Tracking(url, None).begin("e", "name", {"note": "nothing of it"})
        assert verify(warehouse, served).is_clean
        (folder / "cat.png").write_bytes(picture(2))
        (folder / "words.html").write_text("<p>the grey cat of Mrs. M&uuml;ller on her balcony</p>")
        run.log_folder(folder, "report")
        run.set_tags({"note": TEXT})
        MlflowClient(tracking_uri=url).delete_run(run.run_id)
        found = verify(warehouse, served)
        assert {(one.uri.rpartition("/")[2], one.kind, one.state) for one in found.remnants} == {
            (run.run_id, "text", "found"), ("cat.png", "picture", "found"), ("words.html", "text", "found"),
        }  # fmt: skip
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # else MLflow asks for four minutes
    found = verify(warehouse, served)
    assert [*found.unreadable] == [url]
    assert not found.is_clean
