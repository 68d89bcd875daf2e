"""vecap: AltText and concept caption of each sample, fused."""

import dagster as dg
from pydantic import Field

from assets.concept_captions import stage_metadata
from assets.shared.automation import CARRY_ON
from assets.shared.columns import table_metadata
from assets.shared.guards import guard_metadata
from assets.shared.materialisation import OWNERS, Materialisation, commit_properties, preview, reasons_table
from assets.shared.partitions import crawl_partitions
from assets.shared.run_log import note_process
from assets.shared.run_progress import RunProgress
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.duckdb import DuckDBResource
from resources.engines import EnginesResource
from resources.home import HomeResource
from veclip_pipelines.captioning.fusion import CODE_VERSION, fuse_partition
from veclip_pipelines.captioning.guard_rates import guard_counts
from veclip_pipelines.captioning.imported import import_partition
from veclip_pipelines.planning.inputs import fused_concepts, vecap_inputs
from veclip_pipelines.schemas.crawl_schemas import VECAP
from veclip_pipelines.tables.contents import Contents


class VecapConfig(dg.Config):
    """Which engine fuses, and whose concept captions."""

    engine_profile: str = Field(
        default="",
        description="Engine profile for the fusion; empty: the installation's own (VECLIP_FUSION_ENGINE). "
        "smollm2-fusion (no GPU, no network), vicuna-7b-v1.1 (the paper's), qwen3-4b, or a file of yours in VECLIP_HOME/profiles.",
    )
    concept_profile: str = Field(
        default="",
        description="Engine profile (empty: VECLIP_CONCEPT_ENGINE) whose concept captions are fused; "
        "they must be materialised for this partition.",
    )


@dg.asset(
    partitions_def=crawl_partitions,
    deps=["raw_crawl", "concept_captions", "fusion_prompts", "fusion_profiles"],
    automation_condition=CARRY_ON,
    group_name="captions",
    kinds={"python", "dask", "deltalake", "torch"},
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=table_metadata(VECAP),
    pool="captioning",
    description="Visual-enriched captions: a language model fuses AltText and concept caption into one short sentence, "
    "adding nothing. Where a guard says no, the two are joined by a template; each row says which it was.",
)
def vecap(
    context: dg.AssetExecutionContext,
    config: VecapConfig,
    delta_lake: DeltaLakeResource,
    duckdb: DuckDBResource,
    dask: DaskClusterResource,
    engines: EnginesResource,
    home: HomeResource,
) -> dg.MaterializeResult[None]:
    note_process(context.instance, context.run)
    warehouse, key, settings = delta_lake.warehouse(), context.partition_key, home.settings()
    engine = engines.resolve(config.engine_profile or settings.fusion_engine, "fusion", CODE_VERSION)
    concept = fused_concepts(settings, engine, config.concept_profile or settings.concept_engine)
    inputs = vecap_inputs(Contents.of_partitions(warehouse, [key]), key, engine, concept)
    work = Materialisation(context, warehouse, settings, VECAP, CODE_VERSION, inputs)
    with dask.runner(context.run_id) as runner:
        how = {"properties": commit_properties(context, CODE_VERSION), "report": RunProgress(context, runner.dashboard)}
        if engine.profile.is_imported:
            result = import_partition(warehouse, VECAP, engine, key, runner, **how)
        else:
            result = fuse_partition(warehouse, engine, concept, key, runner, **how)
    counts = guard_counts(warehouse, VECAP, key, engine.engine_id)
    with duckdb.connection() as connection:
        routes = connection.execute(
            "SELECT route || CASE WHEN reason IS NULL THEN '' ELSE ' after ' || reason END, count(*) FROM vecap "
            "WHERE crawl_partition = ? AND engine_id = ? AND outcome = 'kept' GROUP BY 1 ORDER BY 2 DESC, 1",
            [key, engine.engine_id],
        ).fetchall()
    return work.finish(
        {"crawl_partition": key, "engine_id": engine.engine_id},
        rows_in=result.rows,
        changed=result.changed,
        preview=preview(settings, f"partitions/{key}", f"partitions/{key}.png"),
        extra={
            "engine_profile": engine.profile.name,
            "concept_profile": concept.profile.name
            if concept
            else "none: imported, or by an engine that sees the picture",
            "routes": dg.MetadataValue.md(reasons_table(dict(routes), "route")),
            **stage_metadata(result),
            **guard_metadata(settings, "vecap", counts),
        },
        guards=counts.as_json(),
    )
