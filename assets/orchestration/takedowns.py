"""Takedowns as runs: what they change in the tables is reported to Dagster, so that its stale marks are right."""

import dagster as dg
from pydantic import Field

from assets.shared.events import report_content
from assets.shared.run_log import partitions_in_flight
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from resources.mlflow import MlflowResource
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.policy import crawl_policy
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.execution import carry_out, unfinished
from veclip_pipelines.takedown.register import register_opt_outs, tombstones

TAKE_DOWN = "take_down"
FINISH = "finish_takedowns"


class TakedownConfig(dg.Config):
    """A recorded takedown: veclip takedown records it, so that no address appears in Dagster's log."""

    takedown_id: str = Field(description="Its id, as veclip takedown list shows it.")


@dg.op(description="Removes what a takedown hides from tables, shards, exports and training states.")
def take_down_op(
    context: dg.OpExecutionContext,
    config: TakedownConfig,
    delta_lake: DeltaLakeResource,
    mlflow: MlflowResource,
    home: HomeResource,
) -> None:
    _take_down(context, delta_lake.warehouse(), home.settings(), mlflow, config.takedown_id)


@dg.op(description="Turns opt-outs into takedowns, and finishes each takedown that is not complete.")
def finish_takedowns_op(
    context: dg.OpExecutionContext, delta_lake: DeltaLakeResource, mlflow: MlflowResource, home: HomeResource
) -> None:
    warehouse, settings = delta_lake.warehouse(), home.settings()
    for takedown in register_opt_outs(warehouse, crawl_policy(settings)):
        context.log.info("takedown %s: %s", takedown.takedown_id, takedown.reason)
    for takedown in unfinished(warehouse):
        _take_down(context, warehouse, settings, mlflow, takedown.takedown_id)


def _take_down(
    context: dg.OpExecutionContext, warehouse: Warehouse, settings: Settings, mlflow: MlflowResource, takedown_id: str
) -> None:
    marks = tombstones(warehouse, takedown_id)
    recipes = read_rows(warehouse, "SELECT DISTINCT recipe FROM set_pins", tables=["set_pins"])
    touched = {row["crawl_partition"] for row in marks} | {row["recipe"] for row in recipes}
    busy = {key: run for key, run in partitions_in_flight(context.instance).items() if run != context.run_id}
    if waiting := sorted(touched & set(busy)):
        raise VeclipError(
            f"takedown {takedown_id}: runs are working on {', '.join(waiting)}. What it takes out is already hidden from all readers; "
            "when they have ended, veclip takedown finish does the rest."
        )
    noted = carry_out(warehouse, settings, takedown_id, tracking=mlflow.tracking(), run_id=context.run_id)
    for one in noted:
        report_content(
            context.instance,
            one.asset,
            None if one.partition == "all" else one.partition,
            one.data_version,
            renewed=one.inputs,
            description=f"without what takedown {takedown_id} took out",
            metadata={"rows_kept": one.rows_kept, "rows_rejected": one.rows_rejected},
        )
    context.log.info("takedown %s: %d rows taken out", takedown_id, len(marks))


@dg.job(name=TAKE_DOWN, description="Carries out a recorded takedown.")
def take_down() -> None:
    take_down_op()


@dg.job(
    name=FINISH,
    description="Turns opt-outs into takedowns, and finishes all takedowns, including those whose retention has ended.",
)
def finish_takedowns() -> None:
    finish_takedowns_op()
