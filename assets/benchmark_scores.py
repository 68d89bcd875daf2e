"""benchmark_scores: what each checkpoint scores."""

import dagster as dg

from assets.columns import table_metadata
from assets.inputs import score_inputs
from assets.materialisation import OWNERS, Materialisation, commit_properties, preview
from assets.partitions import recipe_partitions
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from resources.mlflow import MlflowResource
from veclip_pipelines.evaluation.karpathy import benchmark_folders
from veclip_pipelines.evaluation.retrieval import CODE_VERSION, ScoreTask, score_checkpoint
from veclip_pipelines.recipe import recipe_catalogue
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.tables.schemas import BENCHMARK_SCORES
from veclip_pipelines.training.checkpoint import find_checkpoint


@dg.asset(
    partitions_def=recipe_partitions,
    deps=["checkpoints", "recipes"],
    group_name="evaluation",
    kinds={"python", "dask", "torch"},
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=table_metadata(BENCHMARK_SCORES),
    description="Image-to-text and text-to-image recall at 1, 5 and 10 of each checkpoint on the recipe's benchmarks.",
)
def benchmark_scores(
    context: dg.AssetExecutionContext,
    delta_lake: DeltaLakeResource,
    dask: DaskClusterResource,
    mlflow: MlflowResource,
    home: HomeResource,
) -> dg.MaterializeResult[None]:
    warehouse, settings, name = delta_lake.warehouse(), home.settings(), context.partition_key
    versions = score_inputs(settings, warehouse, name)
    work = Materialisation(context, warehouse, settings, BENCHMARK_SCORES, CODE_VERSION, versions)
    checkpoint = find_checkpoint(warehouse, versions["checkpoint"])
    assert checkpoint is not None
    recipe = recipe_catalogue(settings).load(name)
    folder = settings.checkpoints / versions["checkpoint"]
    tasks = [
        ScoreTask(versions["checkpoint"], name, folder, benchmark, context.run_id)
        for benchmark in benchmark_folders(settings.benchmarks, recipe.benchmarks)
    ]
    with dask.runner(context.run_id) as runner:
        rows = [row for found in runner.run(score_checkpoint, tasks, label="benchmark_scores") for row in found]
    commit = append_new(warehouse, BENCHMARK_SCORES, rows, properties=commit_properties(context, CODE_VERSION))
    metrics = {f"{row['benchmark']}/{row['metric']}": float(str(row["value"])) for row in rows}
    if commit.written:
        scored = {name.replace("@", "_at_"): value for name, value in metrics.items()}
        mlflow.tracking().reopen(str(checkpoint["mlflow_run_id"])).log_metrics(scored, int(str(checkpoint["steps"])))
    return work.finish(
        {"checkpoint_id": versions["checkpoint"]},
        rows_in=len(rows),
        changed=commit.written,
        preview=preview(settings, f"recipes/{name}", "scores.png"),
        extra=metrics,
    )
