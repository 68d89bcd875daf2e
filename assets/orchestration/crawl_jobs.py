"""Jobs that change which crawl partitions there are and what they hold: register a drop, roll back, retire."""

import dagster as dg
from pydantic import Field

from assets.shared.events import report_content
from assets.shared.materialisation import launched_by
from assets.shared.run_log import refuse_in_flight
from resources.delta_lake import DeltaLakeResource
from veclip_pipelines.crawl.drops import check_new, inspect_drop, register_drop
from veclip_pipelines.planning.partition_history import retire, roll_back
from veclip_pipelines.stages import CRAWL_PARTITION, STAGES

REGISTER = "register_crawl_drop"
ROLL_BACK = "roll_back_crawl_partition"
RETIRE = "retire_crawl_partition"


class CrawlDropConfig(dg.Config):
    """A crawl drop to register."""

    uri: str = Field(description="Folder of the crawl drop, or an fsspec URL of one.")
    crawl_partition: str = Field(
        description="Key of the crawl partition that it becomes: letters, digits, '.', '_', '-'."
    )
    replace: bool = Field(default=False, description="Whether it replaces the drop that has this key now.")


@dg.op(description="Inspects a crawl drop, registers it and adds its crawl partition.")
def register_drop_op(context: dg.OpExecutionContext, config: CrawlDropConfig, delta_lake: DeltaLakeResource) -> None:
    warehouse = delta_lake.warehouse()
    drop = inspect_drop(config.uri)
    check_new(warehouse, drop, config.crawl_partition, replace=config.replace)
    register_drop(
        warehouse,
        drop,
        config.crawl_partition,
        run_id=context.run_id,
        registered_by=launched_by(context.run.tags),
    )
    # After the row, so that a partition that Dagster knows always has a drop.
    context.instance.add_dynamic_partitions(CRAWL_PARTITION, [config.crawl_partition])
    context.log.info(
        "crawl partition %s: %s, %s entries in %d sources",
        config.crawl_partition,
        drop.format,
        "?" if drop.entries is None else drop.entries,
        len(drop.sources),
    )


@dg.job(name=REGISTER, description="Registers a crawl drop as a crawl partition.")
def register_crawl_drop() -> None:
    register_drop_op()


class PartitionConfig(dg.Config):
    """A crawl partition."""

    crawl_partition: str = Field(description="Key of the crawl partition.")


class RollBackConfig(PartitionConfig):
    """A crawl partition, and what it is rolled back to."""

    run_id: str = Field(
        default="", description="Run whose raw_crawl is wanted; empty: the content before the present one."
    )


@dg.op(description="Puts a crawl partition back to an earlier content, in all tables that hold captions of it.")
def roll_back_op(context: dg.OpExecutionContext, config: RollBackConfig, delta_lake: DeltaLakeResource) -> None:
    warehouse, key = delta_lake.warehouse(), config.crawl_partition
    refuse_in_flight(context.instance, key, but=context.run_id)
    by = launched_by(context.run.tags)
    for put_back in roll_back(warehouse, key, config.run_id or None, run_id=context.run_id, by=by):
        report_content(
            context.instance,
            put_back.asset,
            key,
            put_back.data_version,
            # Captions go back to those that were made from the content that raw_crawl has again.
            renewed=STAGES[put_back.asset].upstream,
            description=f"rolled back to the content of run {put_back.of_run}",
            metadata={"rows_kept": put_back.rows_kept, "rows_rejected": put_back.rows_rejected},
        )


@dg.op(description="Retires a crawl partition: from then on no table holds rows of it.")
def retire_op(context: dg.OpExecutionContext, config: PartitionConfig, delta_lake: DeltaLakeResource) -> None:
    warehouse, key = delta_lake.warehouse(), config.crawl_partition
    refuse_in_flight(context.instance, key, but=context.run_id)
    rows = retire(warehouse, key, run_id=context.run_id, by=launched_by(context.run.tags))
    # Last, so that a partition that Dagster does not know has no rows either.
    if context.instance.has_dynamic_partition(CRAWL_PARTITION, key):
        context.instance.delete_dynamic_partition(CRAWL_PARTITION, key)
    context.log.info("crawl partition %s is retired: %s", key, rows)


@dg.job(name=ROLL_BACK, description="Puts a crawl partition back to an earlier content, and pins it there.")
def roll_back_crawl_partition() -> None:
    roll_back_op()


@dg.job(name=RETIRE, description="Retires a crawl partition.")
def retire_crawl_partition() -> None:
    retire_op()
