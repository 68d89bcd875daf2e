"""Jobs: what a person or the command line launches. Everything that changes data is a Dagster run."""

import dagster as dg
from pydantic import Field

from assets.configuration import configuration_assets
from assets.materialisation import launched_by
from assets.partitions import CRAWL
from resources.delta_lake import DeltaLakeResource
from veclip_pipelines.crawl.drops import check_new, inspect_drop, register_drop

CRAWL_ASSETS = ("raw_crawl", "concept_captions", "vecap")
RECIPE_ASSETS = ("training_sets", "checkpoints", "benchmark_scores")
CONFIGURATION = "configuration"
CAPTIONS = "captions"
MODELS = "models"
REGISTER = "register_crawl_drop"


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


_unpartitioned = dg.AssetSelection.assets(
    *(asset.key for asset in configuration_assets if asset.partitions_def is None)
)

jobs = [
    register_crawl_drop,
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
