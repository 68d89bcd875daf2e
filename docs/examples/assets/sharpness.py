"""sharpness: how sharp each picture is."""

import dagster as dg

from assets.shared.automation import CARRY_ON
from assets.shared.columns import table_metadata
from assets.shared.materialisation import OWNERS, Materialisation
from assets.shared.partitions import crawl_partitions
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from veclip_pipelines.crawl.sharpness import measure_partition
from veclip_pipelines.planning.inputs import stage_inputs
from veclip_pipelines.stages import SHARPNESS
from veclip_pipelines.tables.provenance import Recorded


@dg.asset(
    partitions_def=crawl_partitions,
    deps=list(SHARPNESS.upstream),
    automation_condition=CARRY_ON,
    group_name="crawl",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version=SHARPNESS.code_version,
    metadata=table_metadata(SHARPNESS.table),
    description="How sharp each kept picture is, by the spread of its edges.",
)
def sharpness(
    context: dg.AssetExecutionContext, delta_lake: DeltaLakeResource, home: HomeResource
) -> dg.MaterializeResult[None]:
    warehouse, key, settings = delta_lake.warehouse(), context.partition_key, home.settings()
    inputs = stage_inputs(Recorded.of(warehouse, [key]), SHARPNESS, key)
    work = Materialisation(context, warehouse, settings, SHARPNESS, inputs)
    rows, commit = measure_partition(warehouse, key, inputs, properties=work.properties)
    return work.finish({"crawl_partition": key}, rows_in=rows, changed=commit.written, preview={}, extra={})
