"""One run of a job, launched from a process that is not Dagster's own and watched until it ends.

A run goes through the instance and Dagster's executor, so that the UI's history and the tables agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableJob

from assets.shared.materialisation import LAUNCHED_BY_TAG
from assets.shared.run_log import LAUNCH_TAG, Watch, Watcher, end_dead_runs, launch_token

_DEFINITIONS = "veclip_pipelines.definitions"


@dataclass(frozen=True)
class RunDone:
    """A run that has ended.

    Attributes:
        steps: seconds of each step that succeeded.
        error: innermost message of the first failure; empty if the run succeeded.
    """

    run_id: str
    success: bool
    steps: Mapping[str, float]
    error: str


@dataclass(frozen=True)
class JobRuns:
    """Runs jobs on an instance.

    Attributes:
        user: who launches; written into each run's tags and the provenance.
    """

    instance: dg.DagsterInstance
    user: str

    def run(
        self,
        job: str,
        watch: Watch,
        *,
        assets: Sequence[str] | None = None,
        partition: str | None = None,
        config: Mapping[str, Mapping[str, object]] | None = None,
    ) -> RunDone:
        """Runs a job in this process; returns when it ends, even if it failed.

        Args:
            watch: called whenever a step begins, reports its progress, or ends.
            assets: which of the job's assets to materialise; by default all.
            config: run config of each op or asset.
        """
        tags = {LAUNCHED_BY_TAG: self.user}
        if partition is not None:
            tags["dagster/partition"] = partition
        # The run's own log is in the UI; what a terminal shows comes from ``watch``.
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        end_dead_runs(self.instance)
        token = launch_token()
        watcher = Watcher(self.instance, token, watch)
        with watcher:
            result = dg.execute_job(
                reconstructable_job(job),
                self.instance,
                run_config={**quiet, **ops_config(config or {})},
                tags={**tags, LAUNCH_TAG: token},
                asset_selection=None if assets is None else [dg.AssetKey.from_user_string(name) for name in assets],
                raise_on_error=False,
            )
        watcher.drain(result.run_id)
        return RunDone(result.run_id, result.success, watcher.durations, watcher.error)


def reconstructable_job(job: str) -> ReconstructableJob:
    """One of our jobs by its name, in a form from which a Dagster process can load it."""
    return dg.build_reconstructable_job(_DEFINITIONS, "job_named", (job,))


def ops_config(config: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """Run config, as Dagster wants it, from the config of each op or asset."""
    return {"ops": {name: {"config": dict(values)} for name, values in config.items()}}


def engine_config(assets: Sequence[str], concept_profile: str, fusion_profile: str) -> dict[str, dict[str, object]]:
    """Config that chooses the engines of those of these assets that caption."""
    config: dict[str, dict[str, object]] = {
        "concept_captions": {"engine_profile": concept_profile},
        "vecap": {"engine_profile": fusion_profile, "concept_profile": concept_profile},
    }
    return {asset: values for asset, values in config.items() if asset in assets}
