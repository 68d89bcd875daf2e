"""Pruning as a run: Dagster's old runs are recorded in the warehouse, then deleted, and files that nothing needs are removed."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from assets.shared.events import INPUT_POINTER
from assets.shared.materialisation import launched_by
from assets.shared.run_log import runs_in_flight
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.pruning.files import Prunable, Retention, prunable_files, remove_files
from veclip_pipelines.schemas.run_schemas import RUNS
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.tables.warehouse import Warehouse

PRUNE = "prune"
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
#: Number of runs that are recorded in one commit, and then deleted.
_AT_ONCE = 200
_DEFAULT = Retention()


class PruneConfig(dg.Config):
    """How long things are kept."""

    runs_days: float = Field(default=_DEFAULT.runs_days, ge=0, description="Days that Dagster keeps a run's record.")
    earlier_days: float = Field(
        default=_DEFAULT.earlier_days, ge=0, description="Days that replaced contents are kept."
    )
    scratch_hours: float = Field(
        default=_DEFAULT.scratch_hours, ge=0, description="Hours that files are kept that nothing refers to."
    )

    def retention(self) -> Retention:
        return Retention(self.runs_days, self.earlier_days, self.scratch_hours)


def prunable_runs(instance: dg.DagsterInstance, retention: Retention) -> list[dg.RunRecord]:
    """Runs that have ended and are past their retention, oldest first, except those that Dagster's stale marks depend on."""
    before = datetime.now(UTC) - timedelta(days=retention.runs_days)
    old = instance.get_run_records(dg.RunsFilter(statuses=_ENDED, created_before=before))
    needed = _needed(instance) if old else set()
    return [record for record in reversed(old) if record.dagster_run.run_id not in needed]


def _needed(instance: dg.DagsterInstance) -> set[str]:
    """Runs of the newest event of each partition, and of the events that these say they were made from.

    Without the former an asset would count as never made; without the latter what is up to date would be marked stale.
    """
    needed: set[str] = set()
    pointed: dict[str, set[int]] = {}
    for key in instance.all_asset_keys():
        for partition in [None, *sorted(instance.get_materialized_partitions(key))]:
            record = instance.get_latest_data_version_record(key, partition_key=partition)
            if record is None:
                continue
            needed.add(record.event_log_entry.run_id)
            event = record.event_log_entry.asset_materialization
            for tag, value in ((event.tags or {}) if event else {}).items():
                if tag.startswith(INPUT_POINTER) and value.isdecimal():
                    pointed.setdefault(tag.removeprefix(INPUT_POINTER), set()).add(int(value))
    for upstream, ids in pointed.items():
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey.from_user_string(upstream), storage_ids=sorted(ids))
        records = instance.fetch_materializations(wanted, limit=len(ids)).records
        needed.update(record.event_log_entry.run_id for record in records)
    return needed


def prunable(
    instance: dg.DagsterInstance, warehouse: Warehouse, settings: Settings, retention: Retention
) -> list[Prunable]:
    """Everything that may be removed, runs and files."""
    runs = [
        Prunable("run", record.dagster_run.run_id, 0, f"{record.dagster_run.job_name}, {record.create_timestamp:%Y-%m-%d}")
        for record in prunable_runs(instance, retention)
    ]  # fmt: skip
    return [*runs, *prunable_files(warehouse, settings, retention)]


@dg.op(description="Records old runs in the warehouse, deletes them in Dagster, and removes files that nothing needs.")
def prune_op(
    context: dg.OpExecutionContext, config: PruneConfig, delta_lake: DeltaLakeResource, home: HomeResource
) -> None:
    warehouse, settings, retention = delta_lake.warehouse(), home.settings(), config.retention()
    if busy := runs_in_flight(context.instance, but=context.run_id):
        # A run may be about to refer to a file that it finds there.
        raise VeclipError(
            f"runs are in progress: {', '.join(sorted(busy))}. Prune when they have ended; nothing was removed."
        )
    runs = prunable_runs(context.instance, retention)
    for start in range(0, len(runs), _AT_ONCE):
        _delete_runs(context.instance, warehouse, runs[start : start + _AT_ONCE], context.run_id)
    files = prunable_files(warehouse, settings, retention)
    remove_files(files)
    size = sum(one.size for one in files)
    context.log.info("%d runs and %d files pruned, %.1f MB", len(runs), len(files), size / 1e6)
    context.add_output_metadata({"runs": len(runs), "files": len(files), "bytes": size})


def _delete_runs(
    instance: dg.DagsterInstance, warehouse: Warehouse, records: Sequence[dg.RunRecord], run_id: str
) -> None:
    """Records runs before deleting them: if it is killed in between, the next run deletes those that are recorded already."""
    append_new(warehouse, RUNS, [_row(instance, record) for record in records], properties={"run_id": run_id})
    for record in records:
        gone = record.dagster_run.run_id
        instance.compute_log_manager.delete_logs(prefix=[gone])
        instance.delete_run(gone)


def _row(instance: dg.DagsterInstance, record: dg.RunRecord) -> dict[str, object]:
    run = record.dagster_run
    return {
        "run_id": run.run_id,
        "job": run.job_name,
        "status": run.status.value,
        "partition": run.tags.get("dagster/partition"),
        "launched_by": launched_by(run.tags),
        "tags": json.dumps(dict(run.tags), sort_keys=True),
        "run_config": json.dumps(dict(run.run_config), sort_keys=True, default=str),
        "steps": json.dumps(dict(_steps(instance, run.run_id)), sort_keys=True),
        "materialised": sorted(_materialised(instance, run.run_id)),
        "created_at": record.create_timestamp,
        "started_at": _time(record.start_time),
        "ended_at": _time(record.end_time),
        "exported_at": datetime.now(UTC),
    }


def _events(instance: dg.DagsterInstance, run_id: str, kinds: set[dg.DagsterEventType]) -> Iterator[dg.DagsterEvent]:
    cursor = None
    while True:
        connection = instance.get_records_for_run(run_id, cursor=cursor, of_type=kinds, limit=500)
        for record in connection.records:
            if record.event_log_entry.dagster_event is not None:
                yield record.event_log_entry.dagster_event
        if not connection.has_more:
            return
        cursor = connection.cursor


def _steps(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[str, float | None]]:
    for event in _events(instance, run_id, {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}):
        seconds = event.step_success_data.duration_ms / 1000 if event.is_step_success else None
        yield event.step_key or "", seconds


def _materialised(instance: dg.DagsterInstance, run_id: str) -> Iterator[str]:
    for event in _events(instance, run_id, {dg.DagsterEventType.ASSET_MATERIALIZATION}):
        made = event.step_materialization_data.materialization
        version = (made.tags or {}).get("dagster/data_version", "")
        yield f"{made.asset_key.to_user_string()}/{made.partition or 'all'}@{version}"


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


@dg.job(name=PRUNE, description="Removes old runs, earlier contents, orphans and scratch, by stated retention.")
def prune() -> None:
    prune_op()
