"""duplicates: which samples have the same picture, or nearly the same, across all crawl partitions."""

import dagster as dg

from assets.shared.automation import AFTER_A_WAVE
from assets.shared.columns import table_metadata
from assets.shared.materialisation import OWNERS, Materialisation, preview
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from veclip_pipelines import stages
from veclip_pipelines.crawl.duplicates import duplicates_inputs, find_duplicates
from veclip_pipelines.crawl.policy import crawl_policy


@dg.asset(
    deps=[dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping()) for name in stages.DUPLICATES.upstream],
    group_name="crawl",
    kinds={"python", "duckdb", "deltalake"},
    owners=OWNERS,
    code_version=stages.DUPLICATES.code_version,
    metadata=table_metadata(stages.DUPLICATES.table),
    automation_condition=AFTER_A_WAVE,
    pool="duplicates",
    description="Groups of samples whose pictures have the same bytes or nearly the same perceptual hash, as connected "
    "components over all crawl partitions; the representative is the smallest sample_id. A recipe decides what to do with them.",
)
def duplicates(
    context: dg.AssetExecutionContext, delta_lake: DeltaLakeResource, home: HomeResource
) -> dg.MaterializeResult[None]:
    warehouse, settings = delta_lake.warehouse(), home.settings()
    distance = crawl_policy(settings).near_duplicate_distance
    inputs = duplicates_inputs(warehouse, distance)
    work = Materialisation(context, warehouse, settings, stages.DUPLICATES, inputs)
    found = find_duplicates(warehouse, distance, properties=work.properties)
    return work.finish(
        {},
        rows_in=found.members,
        changed=found.changed,
        preview=preview(settings, "duplicates", "duplicates.png"),
        extra={
            "groups": found.groups,
            "samples_in_groups": found.members,
            "samples_with_the_bytes_of_another": found.exact,
            "near_duplicate_distance": distance,
            "crawl_partitions_paired": found.partitions_paired,
            "crawl_partitions_known": found.partitions_known,
        },
    )
