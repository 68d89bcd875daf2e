"""concept_captions: what an image-text engine sees in each picture."""

from functools import partial

import dagster as dg
from pydantic import Field

from assets.shared.automation import CARRY_ON
from assets.shared.captioning import chosen_engine, finish_captioning, run_captioning
from assets.shared.columns import table_metadata
from assets.shared.materialisation import OWNERS, Materialisation
from assets.shared.partitions import crawl_partitions
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.engines import EnginesResource
from resources.home import HomeResource
from veclip_pipelines import stages
from veclip_pipelines.captioning.concept import caption_partition
from veclip_pipelines.planning.inputs import concept_inputs
from veclip_pipelines.tables.contents import Contents


class ConceptCaptionsConfig(dg.Config):
    """Which engine describes the pictures."""

    engine_profile: str = Field(
        default="",
        description="Engine profile for concept captions; empty: the installation's own (VECLIP_CONCEPT_ENGINE). "
        "tagger (no GPU, no network), llava-1.5-7b (the paper's), qwen2.5-vl-3b, or a file of yours in VECLIP_HOME/profiles.",
    )


@dg.asset(
    partitions_def=crawl_partitions,
    deps=[*stages.CONCEPT_CAPTIONS.upstream, "concept_prompts", "concept_profiles"],
    automation_condition=CARRY_ON,
    group_name="captions",
    kinds={"python", "dask", "deltalake", "torch"},
    owners=OWNERS,
    code_version=stages.CONCEPT_CAPTIONS.code_version,
    metadata=table_metadata(stages.CONCEPT_CAPTIONS.table),
    pool="captioning",
    description="What a vision-language model sees in each picture, in under 20 words and without seeing the AltText. "
    "An engine captions each picture once, however often it occurs in the crawl.",
)
def concept_captions(
    context: dg.AssetExecutionContext,
    config: ConceptCaptionsConfig,
    delta_lake: DeltaLakeResource,
    dask: DaskClusterResource,
    engines: EnginesResource,
    home: HomeResource,
) -> dg.MaterializeResult[None]:
    warehouse, key, settings = delta_lake.warehouse(), context.partition_key, home.settings()
    profile = config.engine_profile or settings.concept_engine
    engine = chosen_engine(context, engines, profile, "concept", stages.CONCEPT_CAPTIONS.code_version)
    inputs = concept_inputs(Contents.of_partitions(warehouse, [key]), key, engine)
    work = Materialisation(context, warehouse, settings, stages.CONCEPT_CAPTIONS, inputs)
    result = run_captioning(work, engine, dask, partial(caption_partition, warehouse, engine, key))
    return finish_captioning(work, engine, result, {})
