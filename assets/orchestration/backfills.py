"""Backfills of many crawl partitions, the same as the UI's, from a process that is not Dagster's own.

Dagster's only public API for requesting a backfill is its web server's: this module calls what that server calls, and the
release is pinned (tests/end_to_end/test_backfill.py).
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus, PartitionBackfill
from dagster._core.utils import make_new_backfill_id

from assets.orchestration.job_runs import engine_config, ops_config, reconstructable_job
from assets.orchestration.jobs import CAPTIONS
from assets.shared.materialisation import LAUNCHED_BY_TAG
from assets.shared.partitions import crawl_partitions
from veclip_pipelines.errors import UsageError
from veclip_pipelines.stages import CRAWL_PARTITION, names_of

_BACKFILL_TAG = "dagster/backfill"
_BACKFILL_DAEMON = "BACKFILL"
#: A daemon sends a heartbeat every thirty seconds.
_ALIVE_SECONDS = 75.0


@dataclass(frozen=True)
class BackfillState:
    """How far a backfill has got: its status, its runs by status, and the partitions of failed runs with the runs' ids."""

    status: str
    ended: bool
    success: bool
    runs: Mapping[str, int]
    failed: Mapping[str, str]
    error: str


@dataclass(frozen=True)
class Backfills:
    """Backfills on an instance, in the name of a user."""

    instance: dg.DagsterInstance
    user: str

    def select(self, selection: str, among: Sequence[str]) -> list[str]:
        """Those of the given assets that a selection in Dagster's syntax matches. Raises UsageError if it matches none of them."""
        graph = reconstructable_job(CAPTIONS).get_definition().asset_layer.asset_graph
        try:
            keys = dg.AssetSelection.from_string(selection).resolve(graph)
        except Exception as error:  # its parser raises its own errors, and others for an unknown name
            raise UsageError(f"selection {selection!r} is not understood: {error}") from error
        names = {key.to_user_string() for key in keys}
        if not names & set(among):
            raise UsageError(f"selection {selection!r} names none of {', '.join(among)}")
        return [name for name in among if name in names]

    def request(self, partitions: Mapping[str, Sequence[str]], concept_profile: str, fusion_profile: str) -> str:
        """Asks Dagster's daemon for a backfill, one run per partition; returns its id.

        Args:
            partitions: for each asset, the crawl partitions to materialise.
        """
        assets = [asset for asset in names_of(CRAWL_PARTITION) if asset in partitions]
        config = engine_config(assets, concept_profile, fusion_profile)
        count = len({key for keys in partitions.values() for key in keys})
        subsets = {
            dg.AssetKey(asset): crawl_partitions.subset_with_partition_keys(keys) for asset, keys in partitions.items()
        }
        backfill = PartitionBackfill.from_asset_graph_subset(
            backfill_id=make_new_backfill_id(),
            backfill_timestamp=time.time(),
            tags={LAUNCHED_BY_TAG: self.user},
            dynamic_partitions_store=self.instance,
            # mypy mistakes the __hash__ that it declares for a third field.
            asset_graph_subset=AssetGraphSubset(partitions_subsets_by_asset_key=subsets),  # type: ignore[call-arg]
            title=f"{', '.join(assets)} of {count} crawl partitions",
            description=None,
            run_config=ops_config(config),
        )
        self.instance.add_backfill(backfill)
        return str(backfill.backfill_id)

    def state(self, backfill_id: str) -> BackfillState:
        """How far it has got."""
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill is not None
        runs = self.instance.get_runs(dg.RunsFilter(tags={_BACKFILL_TAG: backfill_id}))
        failed = {
            run.tags.get("dagster/partition", "?"): run.run_id
            for run in runs
            if run.status is dg.DagsterRunStatus.FAILURE
        }
        return BackfillState(
            backfill.status.value,
            backfill.status in BULK_ACTION_TERMINAL_STATUSES,
            backfill.status in (BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED),
            Counter(run.status.value for run in runs),
            failed,
            backfill.error.message.strip() if backfill.error else "",
        )

    def cancel(self, backfill_id: str) -> None:
        """Asks the daemon to cancel a backfill and its runs; a cancelled run cancels its Dask tasks."""
        backfill = self.instance.get_backfill(backfill_id)
        if backfill is not None and backfill.status not in BULK_ACTION_TERMINAL_STATUSES:
            cancelling: PartitionBackfill = backfill.with_status(BulkActionStatus.CANCELING)  # type: ignore[no-untyped-call]
            self.instance.update_backfill(cancelling)

    def daemon_runs(self) -> bool:
        """Whether a daemon that launches backfills is running on this instance.

        Dagster itself counts one as healthy for half an hour after its last heartbeat.
        """
        beat = self.instance.get_daemon_heartbeats().get(_BACKFILL_DAEMON)
        return beat is not None and time.time() - beat.timestamp < _ALIVE_SECONDS


def forget_daemon() -> None:
    """Removes the heartbeats of a daemon that we have stopped, so that the next command starts its own."""
    with dg.DagsterInstance.get() as instance:
        instance.wipe_daemon_heartbeats()
