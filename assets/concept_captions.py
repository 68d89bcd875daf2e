"""concept_captions: what an image-text engine says of each picture."""

import dagster as dg
from pydantic import Field

from assets.shared.automation import CARRY_ON
from assets.shared.columns import table_metadata
from assets.shared.guards import guard_metadata
from assets.shared.materialisation import OWNERS, Materialisation, commit_properties, preview
from assets.shared.partitions import crawl_partitions
from assets.shared.run_log import note_process
from assets.shared.run_progress import RunProgress
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.engines import EnginesResource
from resources.home import HomeResource
from veclip_pipelines.captioning.concept import CODE_VERSION, caption_partition
from veclip_pipelines.captioning.guard_rates import guard_counts
from veclip_pipelines.captioning.imported import import_partition
from veclip_pipelines.captioning.stage import StageResult
from veclip_pipelines.planning.inputs import concept_inputs
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS
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
    deps=["raw_crawl", "concept_prompts", "concept_profiles"],
    automation_condition=CARRY_ON,
    group_name="captions",
    kinds={"python", "dask", "deltalake", "torch"},
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=table_metadata(CONCEPT_CAPTIONS),
    pool="captioning",
    description="What a vision-language model sees in each picture, in under 20 words and without seeing the AltText. "
    "A picture is captioned once by an engine, however often the crawl has it.",
)
def concept_captions(
    context: dg.AssetExecutionContext,
    config: ConceptCaptionsConfig,
    delta_lake: DeltaLakeResource,
    dask: DaskClusterResource,
    engines: EnginesResource,
    home: HomeResource,
) -> dg.MaterializeResult[None]:
    note_process(context.instance, context.run)
    warehouse, key, settings = delta_lake.warehouse(), context.partition_key, home.settings()
    engine = engines.resolve(config.engine_profile or settings.concept_engine, "concept", CODE_VERSION)
    inputs = concept_inputs(Contents.of_partitions(warehouse, [key]), key, engine)
    work = Materialisation(context, warehouse, settings, CONCEPT_CAPTIONS, CODE_VERSION, inputs)
    with dask.runner(context.run_id) as runner:
        how = {"properties": commit_properties(context, CODE_VERSION), "report": RunProgress(context, runner.dashboard)}
        if engine.profile.is_imported:
            result = import_partition(warehouse, CONCEPT_CAPTIONS, engine, key, runner, **how)
        else:
            result = caption_partition(warehouse, engine, key, runner, **how)
    counts = guard_counts(warehouse, CONCEPT_CAPTIONS, key, engine.engine_id)
    return work.finish(
        {"crawl_partition": key, "engine_id": engine.engine_id},
        rows_in=result.rows,
        changed=result.changed,
        preview=preview(work.settings, f"partitions/{key}", f"partitions/{key}.png"),
        extra={
            "engine_profile": engine.profile.name,
            **stage_metadata(result),
            **guard_metadata(settings, "concept_captions", counts),
        },
        guards=counts.as_json(),
    )


def stage_metadata(result: StageResult) -> dict[str, object]:
    """What both captioning assets report."""
    return {
        "engine_id": result.engine_id,
        "captions_computed": result.computed,
        "captions_reused": result.reused,
        "batches_run": result.batches_run,
        "batches_found_finished": result.batches_found,
        "boilerplate_sentences": result.boilerplate,
    }
