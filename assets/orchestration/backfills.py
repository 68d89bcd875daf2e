"""Backfills over many crawl partitions, the same as the UI's, from a process that is not Dagster's own.

Dagster's public API has no way to ask for a backfill but its web server's: what is used here is what that server calls, and
the release is pinned (tests/end_to_end/test_backfill.py).
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus, PartitionBackfill
from dagster._core.utils import make_new_backfill_id

from assets.shared.materialisation import LAUNCHED_BY_TAG
from assets.shared.partitions import crawl_partitions

_BACKFILL_TAG = "dagster/backfill"
_BACKFILL_DAEMON = "BACKFILL"
#: A daemon gives a sign of life every thirty seconds.
_ALIVE_SECONDS = 75.0


@dataclass(frozen=True)
class BackfillState:
    """How far a backfill is: its status, its runs by status, and the partitions of failed runs with the runs' ids."""

    status: str
    ended: bool
    success: bool
    runs: Mapping[str, int]
    failed: Mapping[str, str]
    error: str


def request_backfill(
    instance: dg.DagsterInstance,
    partitions: Mapping[str, Sequence[str]],
    *,
    user: str,
    title: str,
    run_config: Mapping[str, object],
) -> str:
    """Asks Dagster's daemon for a backfill, one run a partition; its id.

    Args:
        partitions: for each asset the crawl partitions to materialise.
    """
    subsets = {
        dg.AssetKey(asset): crawl_partitions.subset_with_partition_keys(keys) for asset, keys in partitions.items()
    }
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=make_new_backfill_id(),
        backfill_timestamp=time.time(),
        tags={LAUNCHED_BY_TAG: user},
        dynamic_partitions_store=instance,
        # mypy takes the __hash__ that it declares for a third field.
        asset_graph_subset=AssetGraphSubset(partitions_subsets_by_asset_key=subsets),  # type: ignore[call-arg]
        title=title,
        description=None,
        run_config=dict(run_config) or None,
    )
    instance.add_backfill(backfill)
    return str(backfill.backfill_id)


def backfill_state(instance: dg.DagsterInstance, backfill_id: str) -> BackfillState:
    backfill = instance.get_backfill(backfill_id)
    assert backfill is not None
    runs = instance.get_runs(dg.RunsFilter(tags={_BACKFILL_TAG: backfill_id}))
    failed = {
        run.tags.get("dagster/partition", "?"): run.run_id for run in runs if run.status is dg.DagsterRunStatus.FAILURE
    }
    return BackfillState(
        backfill.status.value,
        backfill.status in BULK_ACTION_TERMINAL_STATUSES,
        backfill.status in (BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED),
        Counter(run.status.value for run in runs),
        failed,
        backfill.error.message.strip() if backfill.error else "",
    )


def cancel_backfill(instance: dg.DagsterInstance, backfill_id: str) -> None:
    """Asks the daemon to cancel a backfill and its runs; a run that is cancelled cancels its Dask tasks."""
    backfill = instance.get_backfill(backfill_id)
    if backfill is not None and backfill.status not in BULK_ACTION_TERMINAL_STATUSES:
        cancelling: PartitionBackfill = backfill.with_status(BulkActionStatus.CANCELING)  # type: ignore[no-untyped-call]
        instance.update_backfill(cancelling)


def daemon_runs(instance: dg.DagsterInstance) -> bool:
    """Whether a daemon that launches backfills is alive on this instance.

    Dagster itself calls one healthy for half an hour after its last sign of life.
    """
    beat = instance.get_daemon_heartbeats().get(_BACKFILL_DAEMON)
    return beat is not None and time.time() - beat.timestamp < _ALIVE_SECONDS


def forget_daemon() -> None:
    """Removes the signs of life of a daemon that we have stopped, so that the next command starts its own."""
    with dg.DagsterInstance.get() as instance:
        instance.wipe_daemon_heartbeats()
