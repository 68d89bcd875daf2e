"""raw_crawl: every entry of a crawl drop, kept or rejected."""

import dagster as dg

from assets.columns import table_metadata
from assets.inputs import raw_crawl_inputs
from assets.materialisation import OWNERS, Materialisation, commit_properties, preview
from assets.partitions import crawl_partitions
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from veclip_pipelines.crawl.drops import inspect_drop, registered_uri
from veclip_pipelines.crawl.index import CODE_VERSION, index_drop
from veclip_pipelines.tables.schemas import RAW_CRAWL


@dg.asset(
    partitions_def=crawl_partitions,
    group_name="crawl",
    kinds={"python", "dask", "deltalake"},
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=table_metadata(RAW_CRAWL),
    description="Every entry of a crawl drop: picture (as a pointer into its shard), AltText raw and cleaned, "
    "and for what could not be used the reason. One partition is one crawl drop.",
)
def raw_crawl(
    context: dg.AssetExecutionContext,
    delta_lake: DeltaLakeResource,
    dask: DaskClusterResource,
    home: HomeResource,
) -> dg.MaterializeResult[None]:
    warehouse, key = delta_lake.warehouse(), context.partition_key
    drop = inspect_drop(registered_uri(warehouse, key))
    work = Materialisation(
        context, warehouse, home.settings(), RAW_CRAWL, CODE_VERSION, raw_crawl_inputs(warehouse, key)
    )
    with dask.runner(context.run_id) as runner:
        result = index_drop(warehouse, drop, key, runner, properties=commit_properties(context, CODE_VERSION))
    return work.finish(
        {"crawl_partition": key},
        rows_in=drop.entries,
        changed=result.changed,
        preview=preview(work.settings, f"partitions/{key}", f"partitions/{key}.png"),
        extra={
            "drop": drop.uri,
            "format": drop.format,
            "shards_read": result.shards_read,
            "shards_found_finished": result.shards_found,
        },
    )
