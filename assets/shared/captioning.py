"""What both captioning assets do: resolve the engine, caption on the Dask cluster or import captions, count the guards' objections."""

from collections.abc import Mapping
from functools import partial
from typing import Protocol

import dagster as dg

from assets.shared.guards import guard_metadata
from assets.shared.materialisation import Materialisation, Metadata, preview
from assets.shared.run_log import note_process
from assets.shared.run_progress import RunProgress
from resources.dask_cluster import DaskClusterResource
from resources.engines import EnginesResource
from veclip_pipelines.captioning.guard_rates import guard_counts
from veclip_pipelines.captioning.imported import import_partition
from veclip_pipelines.captioning.stage import StageResult
from veclip_pipelines.captioning.stage_progress import Report
from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.prompts import Purpose


class CaptionPartition(Protocol):
    """An asset's own step, with its partition and engine bound already."""

    def __call__(self, runner: Runner, *, properties: Mapping[str, str], report: Report) -> StageResult: ...


def chosen_engine(
    context: dg.AssetExecutionContext, engines: EnginesResource, profile: str, purpose: Purpose, code_version: str
) -> EngineSpec:
    """The engine that a profile names. Raises UsageError for an unknown one, ModelMissingError if its model is not installed."""
    # Before the weights are hashed: a run that is killed while hashing must not keep its pool slot.
    note_process(context.instance, context.run)
    return engines.resolve(profile, purpose, code_version)


def run_captioning(
    work: Materialisation, engine: EngineSpec, dask: DaskClusterResource, caption: CaptionPartition
) -> StageResult:
    """Captions the partition on the Dask cluster; for an imported engine takes the captions that came with the drop."""
    context = work.context
    if engine.profile.is_imported:
        caption = partial(import_partition, work.warehouse, work.spec, engine, context.partition_key)
    with dask.runner(context.run_id) as runner:
        return caption(
            runner,
            properties=work.properties,
            report=RunProgress(context, runner.dashboard),
        )


def finish_captioning(
    work: Materialisation, engine: EngineSpec, result: StageResult, extra: Metadata
) -> dg.MaterializeResult[None]:
    """Records the materialisation with its guards' rates.

    Args:
        extra: metadata that only this asset has.
    """
    key, asset = work.context.partition_key, work.spec.name
    counts = guard_counts(work.warehouse, work.spec, key, engine.engine_id)
    return work.finish(
        {"crawl_partition": key, "engine_id": engine.engine_id},
        rows_in=result.rows,
        changed=result.changed,
        preview=preview(work.settings, f"partitions/{key}", f"partitions/{key}.png"),
        extra={
            "engine_profile": engine.profile.name,
            **extra,
            "engine_id": result.engine_id,
            "captions_computed": result.computed,
            "captions_reused": result.reused,
            "batches_run": result.batches_run,
            "batches_found_finished": result.batches_found,
            "boilerplate_sentences": result.boilerplate,
            **guard_metadata(work.settings, asset, counts),
        },
        guards=counts.as_json(),
    )
