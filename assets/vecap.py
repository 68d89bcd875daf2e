"""vecap: each sample's AltText and concept caption, fused."""

from functools import partial

import dagster as dg
from pydantic import Field

from assets.shared.automation import CARRY_ON
from assets.shared.captioning import chosen_engine, finish_captioning, run_captioning
from assets.shared.columns import table_metadata
from assets.shared.materialisation import OWNERS, Materialisation, Metadata, reasons_table
from assets.shared.partitions import crawl_partitions
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.engines import EnginesResource
from resources.home import HomeResource
from veclip_pipelines import stages
from veclip_pipelines.captioning.fusion import fuse_partition, kept_by_route
from veclip_pipelines.planning.inputs import fused_concepts, vecap_inputs
from veclip_pipelines.tables.contents import Contents


class VecapConfig(dg.Config):
    """Which engine fuses, and which engine's concept captions."""

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
    deps=[*stages.VECAP.upstream, "fusion_prompts", "fusion_profiles"],
    automation_condition=CARRY_ON,
    group_name="captions",
    kinds={"python", "dask", "deltalake", "torch"},
    owners=OWNERS,
    code_version=stages.VECAP.code_version,
    metadata=table_metadata(stages.VECAP.table),
    pool="captioning",
    description="Visual-enriched captions: a language model fuses AltText and concept caption into one short sentence, "
    "adding nothing. If a guard objects, a template joins the two instead; each row says how its caption was made.",
)
def vecap(
    context: dg.AssetExecutionContext,
    config: VecapConfig,
    delta_lake: DeltaLakeResource,
    dask: DaskClusterResource,
    engines: EnginesResource,
    home: HomeResource,
) -> dg.MaterializeResult[None]:
    warehouse, key, settings = delta_lake.warehouse(), context.partition_key, home.settings()
    profile = config.engine_profile or settings.fusion_engine
    engine = chosen_engine(context, engines, profile, "fusion", stages.VECAP.code_version)
    concept = fused_concepts(settings, engine, config.concept_profile or settings.concept_engine)
    inputs = vecap_inputs(Contents.of_partitions(warehouse, [key]), key, engine, concept)
    work = Materialisation(context, warehouse, settings, stages.VECAP, inputs)
    result = run_captioning(work, engine, dask, partial(fuse_partition, warehouse, engine, concept, key))
    routes = kept_by_route(warehouse, key, engine.engine_id)
    own: Metadata = {
        "concept_profile": concept.profile.name if concept else "none: imported, or by an engine that sees the picture",
        "routes": dg.MetadataValue.md(reasons_table(routes, "route")),
    }
    return finish_captioning(work, engine, result, own)
