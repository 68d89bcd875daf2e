"""Jobs: what a person or the command line launches. Everything that changes data is a Dagster run."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from pydantic import Field

from assets.configuration import configuration_assets
from assets.orchestration.pruning import prune
from assets.orchestration.takedowns import takedown_jobs
from assets.shared.events import report_content
from assets.shared.materialisation import launched_by
from assets.shared.partitions import CRAWL, CRAWL_ASSETS, RECIPE_ASSETS
from assets.shared.run_log import refuse_in_flight
from assets.warehouse_audit import audit_job
from resources.delta_lake import DeltaLakeResource
from veclip_pipelines.crawl.drops import check_new, inspect_drop, register_drop
from veclip_pipelines.planning.partition_history import retire, roll_back

CONFIGURATION = "configuration"
CAPTIONS = "captions"
MODELS = "models"
REGISTER = "register_crawl_drop"
INDEX = "index_crawl_drop"
DUPLICATES = "find_duplicates"
EXPERIMENT = "experiment"
SCOREBOARD = "scoreboard_page"
ROLL_BACK = "roll_back_crawl_partition"
RETIRE = "retire_crawl_partition"


class CrawlDropConfig(dg.Config):
    """A folder that arrived."""

    uri: str = Field(description="Folder of the crawl drop, or an fsspec URL of one.")
    crawl_partition: str = Field(
        description="Key of the crawl partition that it becomes: letters, digits, '.', '_', '-'."
    )
    replace: bool = Field(default=False, description="Whether it takes the place of the drop that has this key now.")


@dg.op(description="Looks at a crawl drop, writes it down and adds its crawl partition.")
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
    # After the row: a partition that Dagster knows always has a drop behind it.
    context.instance.add_dynamic_partitions(CRAWL, [config.crawl_partition])
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
    """A crawl partition, and what it goes back to."""

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
            # Captions are put back to those that were made of the content that raw_crawl has again.
            renewed=CRAWL_ASSETS[: CRAWL_ASSETS.index(put_back.asset)],
            description=f"rolled back to the content of run {put_back.of_run}",
            metadata={"rows_kept": put_back.rows_kept, "rows_rejected": put_back.rows_rejected},
        )


@dg.op(description="Takes a crawl partition out of use: no table holds rows of it from then on.")
def retire_op(context: dg.OpExecutionContext, config: PartitionConfig, delta_lake: DeltaLakeResource) -> None:
    warehouse, key = delta_lake.warehouse(), config.crawl_partition
    refuse_in_flight(context.instance, key, but=context.run_id)
    rows = retire(warehouse, key, run_id=context.run_id, by=launched_by(context.run.tags))
    # Last: a partition that Dagster does not know has no rows either.
    if context.instance.has_dynamic_partition(CRAWL, key):
        context.instance.delete_dynamic_partition(CRAWL, key)
    context.log.info("crawl partition %s is retired: %s", key, rows)


@dg.job(name=ROLL_BACK, description="Puts a crawl partition back to an earlier content, and pins it there.")
def roll_back_crawl_partition() -> None:
    roll_back_op()


@dg.job(name=RETIRE, description="Takes a crawl partition out of use.")
def retire_crawl_partition() -> None:
    retire_op()


_unpartitioned = dg.AssetSelection.assets(
    *(asset.key for asset in configuration_assets if asset.partitions_def is None)
)

jobs: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    register_crawl_drop,
    roll_back_crawl_partition,
    retire_crawl_partition,
    *takedown_jobs,
    prune,
    audit_job,
    dg.define_asset_job(
        INDEX,
        selection=dg.AssetSelection.assets("raw_crawl"),
        description="A crawl partition from its drop to raw_crawl alone.",
    ),
    dg.define_asset_job(
        DUPLICATES,
        selection=dg.AssetSelection.assets("duplicates"),
        description="Duplicate pictures over all crawl partitions.",
    ),
    dg.define_asset_job(
        SCOREBOARD,
        selection=dg.AssetSelection.assets("scoreboard"),
        description="The scoreboard anew.",
    ),
    dg.define_asset_job(
        EXPERIMENT,
        selection=dg.AssetSelection.groups("experiment"),
        description="The experiment's data, and its report.",
    ),
    dg.define_asset_job(
        CONFIGURATION,
        selection=_unpartitioned,
        description="Notes the versions of prompts and engine profiles.",
    ),
    dg.define_asset_job(
        CAPTIONS,
        selection=dg.AssetSelection.assets(*CRAWL_ASSETS),
        description="A crawl partition from its drop to VeCap.",
    ),
    dg.define_asset_job(
        MODELS,
        selection=dg.AssetSelection.assets("recipes", *RECIPE_ASSETS),
        description="A recipe from its training set to its scores.",
    ),
]
