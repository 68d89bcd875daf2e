"""Runs as the command line sees them: who launched them, how far they are, and which died with their process."""

import itertools
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dagster as dg
import psutil

from veclip_pipelines.errors import VeclipError

LAUNCH_TAG = "veclip/launch"
_PARTITION_TAG = "dagster/partition"

_POLL_SECONDS = 0.3
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_COUNTER = itertools.count()


@dataclass(frozen=True)
class StepSeen:
    """A step as the run's log shows it: started, in progress (with a message), or ended with a duration in seconds."""

    step: str
    state: str
    seconds: float | None = None
    message: str = ""


Watch = Callable[[StepSeen], None]


def note_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Records which process a run lives in, whoever launched it, so that :func:`end_dead_runs` can tell if it died.

    A step in a pool does this first: one that is killed before it would keep its slot until a daemon notices.
    """
    if LAUNCH_TAG not in run.tags:
        instance.add_run_tags(run.run_id, {LAUNCH_TAG: launch_token()})


def launch_token() -> str:
    """Identifies one launch by the process that it lives in: machine, process id, its start time, a number."""
    started = psutil.Process().create_time()
    return f"{socket.gethostname()}/{os.getpid()}/{started:.2f}/{next(_COUNTER)}"


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks runs as failed if their process was killed on this machine, and frees the pool slots that they hold.

    Dagster's daemon monitors only the runs that it launched, not those of a command line: without this the next run would
    wait for ever for a dead run's slot.
    """
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        token = run.tags.get(LAUNCH_TAG, "")
        if token and _is_dead(token):
            instance.report_run_failed(run, "the process that ran it was killed")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended


def partitions_in_flight(instance: dg.DagsterInstance) -> dict[str, str]:
    """The partition keys of runs that have not ended, with the run's id."""
    return {run.tags[_PARTITION_TAG]: run.run_id for run in _in_flight(instance) if _PARTITION_TAG in run.tags}


def runs_in_flight(instance: dg.DagsterInstance, *, but: str) -> set[str]:
    """Runs that have not ended, except for one."""
    return {run.run_id for run in _in_flight(instance)} - {but}


def _in_flight(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(statuses=[*_UNFINISHED, dg.DagsterRunStatus.QUEUED]))


def refuse_in_flight(instance: dg.DagsterInstance, partition: str, *, but: str) -> None:
    """Raises VeclipError if a run is working on a partition, which must not change underneath it."""
    run_id = partitions_in_flight(instance).get(partition)
    if run_id not in (None, but):
        raise VeclipError(f"run {run_id} is at work on partition {partition!r}: wait for it or cancel it first")


def _is_dead(token: str) -> bool:
    host, pid, started, _ = token.split("/")
    if host != socket.gethostname():
        return False
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) > 1.0
    except psutil.NoSuchProcess:
        return True


class Watcher:
    """Follows a run's event log from another thread, because execute_job returns only at the end."""

    def __init__(self, instance: dg.DagsterInstance, token: str, watch: Watch) -> None:
        self.durations: dict[str, float] = {}
        self.error = ""
        self._instance = instance
        self._token = token
        self._watch = watch
        self._cursor: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def drain(self, run_id: str) -> None:
        """Reads what has been added to the log since the last look."""
        while True:
            connection = self._instance.get_records_for_run(run_id, cursor=self._cursor, limit=500)
            for record in connection.records:
                self._see(record.event_log_entry)
            self._cursor = connection.cursor
            if not connection.has_more:
                return

    def _follow(self) -> None:
        run_id: str | None = None
        while not self._stop.wait(_POLL_SECONDS):
            if run_id is None:
                runs = self._instance.get_runs(dg.RunsFilter(tags={LAUNCH_TAG: self._token}), limit=1)
                run_id = runs[0].run_id if runs else None
            if run_id is not None:
                self.drain(run_id)

    def _see(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None or event.step_key is None:
            if event is not None and event.is_job_failure and not self.error:
                self.error = event.message or ""
            return
        if event.is_step_start:
            self._watch(StepSeen(event.step_key, "started"))
        elif event.is_step_success:
            seconds = (event.step_success_data.duration_ms or 0) / 1000
            self.durations[event.step_key] = seconds
            self._watch(StepSeen(event.step_key, "done", seconds))
        elif event.is_asset_observation and event.asset_observation_data.asset_observation.description:
            said = event.asset_observation_data.asset_observation.description
            self._watch(StepSeen(event.step_key, "progress", message=said))
        elif event.is_step_failure:
            self.error = self.error or _root_cause(event)
            self._watch(StepSeen(event.step_key, "failed", message=_root_cause(event)))


def _root_cause(event: dg.DagsterEvent) -> str:
    """The innermost message of a failed step, without its traceback: that is in the UI."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else (event.message or "")
