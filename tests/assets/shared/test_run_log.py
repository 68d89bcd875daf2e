"""Runs whose process was killed are marked as failed; those of live processes and of other machines are left alone."""

from __future__ import annotations

import os

import dagster as dg
import psutil

from assets.shared.run_log import LAUNCH_TAG, end_dead_runs, launch_token


@dg.job
def nothing() -> None:
    pass


def test_only_dead_runs_of_this_machine_are_ended() -> None:
    host, started = launch_token().split("/")[0], psutil.Process().create_time()
    tokens = {
        "alive": launch_token(),
        "gone": f"{host}/{2**22 - 1}/1.00/0",
        "id went to another": f"{host}/{os.getpid()}/{started - 3600:.2f}/0",
        "elsewhere": "another-machine/1/1.00/0",
        "": "",
    }
    with dg.DagsterInstance.ephemeral() as instance:
        runs = {}
        for name, token in tokens.items():
            run = instance.create_run_for_job(nothing, tags={LAUNCH_TAG: token} if token else {})
            instance.handle_run_event(run.run_id, _started(nothing.name))
            runs[name] = run.run_id
        ended = end_dead_runs(instance)
        assert set(ended) == {runs["gone"], runs["id went to another"]}
        statuses = {name: instance.get_run_by_id(run_id).status for name, run_id in runs.items()}  # type: ignore[union-attr]
        assert statuses["gone"] == dg.DagsterRunStatus.FAILURE
        assert statuses["alive"] == statuses["elsewhere"] == statuses[""] == dg.DagsterRunStatus.STARTED
        assert end_dead_runs(instance) == []


def _started(job: str) -> dg.DagsterEvent:
    return dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job)


def test_tokens_name_each_launch() -> None:
    assert launch_token() != launch_token()
