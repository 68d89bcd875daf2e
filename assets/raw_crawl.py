"""raw_crawl: every entry of a crawl drop, kept or rejected."""

import dagster as dg
from pydantic import Field

from assets.shared.columns import table_metadata
from assets.shared.materialisation import OWNERS, Materialisation, commit_properties, preview, reasons_table
from assets.shared.partitions import crawl_partitions
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from veclip_pipelines.crawl.drops import registered_drop
from veclip_pipelines.crawl.index import CODE_VERSION, index_drop
from veclip_pipelines.crawl.retry import retry_rejects
from veclip_pipelines.planning.inputs import crawl_of, raw_crawl_inputs
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.tables.provenance import latest
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

_SHOWN = 12


class RawCrawlConfig(dg.Config):
    """Whether the whole drop is taken in, or only what went wrong is tried again."""

    retry_reasons: list[str] = Field(
        default=[],
        description="Try again only the rows that were rejected for one of these reasons (timeout, rate_limited, "
        "connection_reset, ...), and merge them in one commit. Empty: take the drop in.",
    )


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
    config: RawCrawlConfig,
    delta_lake: DeltaLakeResource,
    dask: DaskClusterResource,
    home: HomeResource,
) -> dg.MaterializeResult[None]:
    warehouse, key, settings = delta_lake.warehouse(), context.partition_key, home.settings()
    drop = registered_drop(warehouse, key)
    inputs = raw_crawl_inputs(settings, drop)
    work = Materialisation(context, warehouse, settings, RAW_CRAWL, CODE_VERSION, inputs)
    properties = commit_properties(context, CODE_VERSION)
    extra: dict[str, object] = {"drop": drop.uri, "format": " ".join((drop.format, drop.label)).strip()}
    before = latest(warehouse, RAW_CRAWL.name, key)
    rows_in = int(str(before["rows_in"])) if before else 0
    if drop.state == "pinned":
        # Rolled back: its folder may hold something else by now, which must not come in by a materialisation.
        changed = False
        extra["pinned"] = True
    elif config.retry_reasons:
        with dask.runner(context.run_id) as runner:
            retried = retry_rejects(
                crawl_of(settings, warehouse, drop), config.retry_reasons, runner, properties=properties
            )
        changed = retried.changed
        extra |= {"rows_tried_again": retried.tried, "rows_kept_by_it": retried.kept}
    else:
        with dask.runner(context.run_id) as runner:
            result = index_drop(crawl_of(settings, warehouse, drop), runner, properties=properties)
        rows_in, changed = result.entries, result.changed
        extra |= {"shards_read": result.shards_read, "shards_found_finished": result.shards_found}
    extra |= {
        "flags": dg.MetadataValue.md(reasons_table(count_by(warehouse, key, "unnest(flags)"), "flag")),
        "languages": dg.MetadataValue.md(reasons_table(count_by(warehouse, key, "language"), "language")),
    }
    return work.finish(
        {"crawl_partition": key},
        rows_in=rows_in,
        changed=changed,
        preview={
            **preview(settings, f"partitions/{key}", f"partitions/{key}.png"),
            **preview(settings, f"partitions/{key}/rejects", f"partitions/{key}/rejects.png", "rejects"),
        },
        extra=extra,
    )


def count_by(warehouse: Warehouse, key: str, what: str) -> dict[str, int]:
    """Kept rows of a partition by the values of a column, the most frequent first."""
    rows = read_rows(
        warehouse,
        f"SELECT value, count(*) AS n FROM (SELECT {what} AS value FROM raw_crawl WHERE crawl_partition = ? AND outcome = 'kept') "  # noqa: S608
        f"WHERE value IS NOT NULL GROUP BY value ORDER BY n DESC, value LIMIT {_SHOWN}",
        [key],
        tables=["raw_crawl"],
    )
    return {str(row["value"]): int(row["n"]) for row in rows}
