"""How far a captioning step has got, while it runs: in the run's log and as observations of the asset, which the UI shows live.

``context.log_event`` keeps events until the step ends, so the observation is put into the log the way Dagster itself does it.
"""

import time

import dagster as dg

from veclip_pipelines.captioning.stage_progress import Progress, clock

_FIRST_SECONDS, _MOST_SECONDS, _GROWTH = 3.0, 60.0, 1.5


class RunProgress:
    """Receives a step's reports and passes some of them on: often at first, once a minute in a run that takes hours."""

    def __init__(self, context: dg.AssetExecutionContext, dashboard: str) -> None:
        self._context = context
        self._dashboard = dashboard
        self._interval = _FIRST_SECONDS
        self._next = time.monotonic() + _FIRST_SECONDS

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._interval = min(_MOST_SECONDS, self._interval * _GROWTH)
        self._next = now + self._interval
        self._context.log.info("%s; Dask dashboard: %s", progress, self._dashboard)
        observation = dg.AssetObservation(
            asset_key=self._context.asset_key,
            partition=self._context.partition_key,
            description=str(progress),
            metadata={
                "rows_done": progress.rows_done,
                "rows_left": progress.rows_left,
                "batches_left": progress.batches_left,
                "rows_per_second": round(progress.rows_per_second, 2),
                "tokens_per_second": round(progress.tokens_per_second, 1),
                "rejected": progress.rejected,
                "time_left": "not known yet" if progress.seconds_left is None else clock(progress.seconds_left),
                "dask_dashboard": dg.MetadataValue.url(self._dashboard),
            },
        )
        dg.DagsterEvent.asset_observation(self._context.get_step_execution_context(), observation)
