"""A step's reports reach the run's log and the asset while the step runs, but fewer than one per batch."""

import dagster as dg
import pytest

from assets.shared.run_log import StepSeen, Watcher
from assets.shared.run_progress import RunProgress
from veclip_pipelines.captioning.stage_progress import Progress

SEEN: list[int] = []


def progress(done: int) -> Progress:
    return Progress("vecap", "cc-1", done, 1000 - done, done // 10, (1000 - done) // 10, 3, 20.0, 300.0, 1.5)


def reporting(context: dg.AssetExecutionContext) -> None:
    report = RunProgress(context, "http://127.0.0.1:8787/status")
    for done in range(0, 1000, 10):
        report(progress(done))
        records = context.instance.get_records_for_run(context.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
        SEEN.append(len(records.records))


def test_observations_are_in_the_log_while_the_step_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(10_000))
    monkeypatch.setattr("assets.shared.run_progress.time.monotonic", lambda: float(next(now)))
    captions = dg.asset(name="vecap", partitions_def=dg.StaticPartitionsDefinition(["cc-1"]))(reporting)
    SEEN.clear()
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([captions], partition_key="cc-1", instance=instance)
        assert result.success
        observations = instance.fetch_observations(dg.AssetKey("vecap"), limit=100).records
        watched: list[StepSeen] = []
        watcher = Watcher(instance, "nobody", watched.append)
        watcher.drain(result.run_id)
    # Some after 3 s, then ever rarer: in 100 s far fewer than reports, and the first long before the end.
    assert 4 <= len(observations) <= 10
    assert SEEN[10] >= 1
    assert SEEN[-1] == len(observations)
    newest = observations[0].asset_observation
    assert newest is not None
    assert newest.partition == "cc-1"
    assert newest.metadata["dask_dashboard"].value == "http://127.0.0.1:8787/status"
    assert newest.metadata["rows_left"].value == 1000 - newest.metadata["rows_done"].value
    messages = [seen.message for seen in watched if seen.state == "progress"]
    assert len(messages) == len(observations)
    assert "20.0 rows/s, 300 tokens/s, 2 s left, 3 rejected" in messages[0]
