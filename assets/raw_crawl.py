"""raw_crawl: every entry of a crawl drop, kept or rejected."""

import dagster as dg
from pydantic import Field

from assets.shared.columns import table_metadata
from assets.shared.materialisation import OWNERS, Materialisation, preview, reasons_table
from assets.shared.partitions import crawl_partitions
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from veclip_pipelines import stages
from veclip_pipelines.crawl.drops import registered_drop
from veclip_pipelines.crawl.taking_in import kept_by_flag, kept_by_language, stay_pinned, take_in
from veclip_pipelines.planning.inputs import crawl_of, raw_crawl_inputs


class RawCrawlConfig(dg.Config):
    """Whether the whole drop is ingested, or only what went wrong is tried again."""

    retry_reasons: list[str] = Field(
        default=[],
        description="Try again only the rows that were rejected for one of these reasons (timeout, rate_limited, "
        "connection_reset, ...), and merge them in one commit. Empty: ingest the drop.",
    )


@dg.asset(
    partitions_def=crawl_partitions,
    group_name="crawl",
    kinds={"python", "dask", "deltalake"},
    owners=OWNERS,
    code_version=stages.RAW_CRAWL.code_version,
    metadata=table_metadata(stages.RAW_CRAWL.table),
    description="Every entry of a crawl drop: picture (as a pointer into its shard), raw and cleaned AltText, "
    "and the reason if it could not be used. One partition is one crawl drop.",
)
def raw_crawl(
    context: dg.AssetExecutionContext,
    config: RawCrawlConfig,
    delta_lake: DeltaLakeResource,
    dask: DaskClusterResource,
    home: HomeResource,
) -> dg.MaterializeResult[None]:
    warehouse, key, settings = delta_lake.warehouse(), context.partition_key, home.settings()
    drop = registered_drop(warehouse, key)
    inputs = raw_crawl_inputs(settings, drop)
    work = Materialisation(context, warehouse, settings, stages.RAW_CRAWL, inputs)
    if drop.state == "pinned":
        taken = stay_pinned(warehouse, key)
    else:
        with dask.runner(context.run_id) as runner:
            crawl, properties = crawl_of(settings, warehouse, drop), work.properties
            taken = take_in(crawl, config.retry_reasons, runner, properties=properties)
    return work.finish(
        {"crawl_partition": key},
        rows_in=taken.entries,
        changed=taken.changed,
        preview={
            **preview(settings, f"partitions/{key}", f"partitions/{key}.png"),
            **preview(settings, f"partitions/{key}/rejects", f"partitions/{key}/rejects.png", "rejects"),
        },
        extra={
            "drop": drop.uri,
            "format": " ".join((drop.format, drop.label)).strip(),
            **taken.figures,
            "flags": dg.MetadataValue.md(reasons_table(kept_by_flag(warehouse, key), "flag")),
            "languages": dg.MetadataValue.md(reasons_table(kept_by_language(warehouse, key), "language")),
        },
    )
