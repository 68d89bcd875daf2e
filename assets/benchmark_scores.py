"""benchmark_scores: the scores of each checkpoint."""

import dagster as dg

from assets.shared.columns import table_metadata
from assets.shared.materialisation import OWNERS, Materialisation, preview
from assets.shared.partitions import recipe_partitions
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from resources.mlflow import MlflowResource
from veclip_pipelines import stages
from veclip_pipelines.config.recipe import recipe_catalogue
from veclip_pipelines.evaluation.benchmarks import benchmark_folders
from veclip_pipelines.evaluation.checkpoint_scores import ScoredCheckpoint, as_metrics, as_percent, score_checkpoint
from veclip_pipelines.planning.inputs import score_inputs, training_set_inputs
from veclip_pipelines.schemas.training_schemas import BENCHMARK_SCORES
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.training.checkpoint import find_checkpoint


@dg.asset(
    partitions_def=recipe_partitions,
    deps=[*stages.BENCHMARK_SCORES.upstream, "recipes"],
    group_name="evaluation",
    kinds={"python", "dask", "torch"},
    owners=OWNERS,
    code_version=stages.BENCHMARK_SCORES.code_version,
    metadata=table_metadata(stages.BENCHMARK_SCORES.table),
    description="What each checkpoint scores on the recipe's benchmarks: recall at 1, 5 and 10 in both directions (retrieval), accuracy "
    "at 1 and 5 and mean per-class recall (zero-shot), each with its 95 % bootstrap interval.",
)
def benchmark_scores(
    context: dg.AssetExecutionContext,
    delta_lake: DeltaLakeResource,
    dask: DaskClusterResource,
    mlflow: MlflowResource,
    home: HomeResource,
) -> dg.MaterializeResult[None]:
    warehouse, settings, name = delta_lake.warehouse(), home.settings(), context.partition_key
    versions = score_inputs(settings, warehouse, training_set_inputs(settings, warehouse, name))
    work = Materialisation(context, warehouse, settings, stages.BENCHMARK_SCORES, versions)
    checkpoint = find_checkpoint(warehouse, versions["checkpoint"])
    assert checkpoint is not None
    scored = ScoredCheckpoint(
        recipe=name,
        checkpoint_id=versions["checkpoint"],
        weights=settings.checkpoints / versions["checkpoint"],
        benchmarks=benchmark_folders(settings.benchmarks, recipe_catalogue(settings).load(name).benchmarks),
        versions=versions,
        run_id=context.run_id,
    )
    with dask.runner(context.run_id) as runner:
        rows = score_checkpoint(scored, runner)
    commit = append_new(warehouse, BENCHMARK_SCORES, rows, properties=work.properties)
    if commit.written:
        run = mlflow.tracking().reopen(str(checkpoint["mlflow_run_id"]))
        run.log_metrics(as_metrics(rows), int(str(checkpoint["steps"])))
    return work.finish(
        {"checkpoint_id": versions["checkpoint"]},
        rows_in=len(rows),
        changed=commit.written,
        preview=preview(settings, f"recipes/{name}", "scores.png"),
        extra=as_percent(rows),
    )
