"""benchmark_scores: what each checkpoint scores."""

from datetime import UTC, datetime

import dagster as dg

from assets.shared.columns import table_metadata
from assets.shared.materialisation import OWNERS, Materialisation, commit_properties, preview
from assets.shared.partitions import recipe_partitions
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from resources.mlflow import MlflowResource
from veclip_pipelines.config.recipe import recipe_catalogue
from veclip_pipelines.evaluation.benchmarks import benchmark_folders, open_benchmark
from veclip_pipelines.evaluation.models import ModelSource
from veclip_pipelines.evaluation.scoring import CODE_VERSION, score
from veclip_pipelines.planning.inputs import score_inputs, training_set_inputs
from veclip_pipelines.schemas.training_schemas import BENCHMARK_SCORES
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.training.checkpoint import find_checkpoint


@dg.asset(
    partitions_def=recipe_partitions,
    deps=["checkpoints", "recipes"],
    group_name="evaluation",
    kinds={"python", "dask", "torch"},
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=table_metadata(BENCHMARK_SCORES),
    description="What each checkpoint scores on the recipe's benchmarks: recall at 1, 5 and 10 both ways (retrieval), accuracy "
    "at 1 and 5 and mean per class recall (zero-shot), each with its 95 % bootstrap interval.",
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
    work = Materialisation(context, warehouse, settings, BENCHMARK_SCORES, CODE_VERSION, versions)
    checkpoint = find_checkpoint(warehouse, versions["checkpoint"])
    assert checkpoint is not None
    recipe = recipe_catalogue(settings).load(name)
    model = ModelSource(str(settings.checkpoints / versions["checkpoint"]))
    rows: list[dict[str, object]] = []
    with dask.runner(context.run_id) as runner:
        for folder in benchmark_folders(settings.benchmarks, recipe.benchmarks):
            benchmark = open_benchmark(folder)
            for metric, found in score(model, benchmark, runner).items():
                rows.append(
                    {
                        "checkpoint_id": versions["checkpoint"],
                        "recipe": name,
                        "benchmark": benchmark.name,
                        "benchmark_sha256": versions[f"benchmark/{benchmark.name}"],
                        "metric": metric,
                        **vars(found),
                        "code_version": CODE_VERSION,
                        "scored_at": datetime.now(UTC),
                        "run_id": context.run_id,
                    }
                )
    commit = append_new(warehouse, BENCHMARK_SCORES, rows, properties=commit_properties(context, CODE_VERSION))
    if commit.written:
        scored = {f"{row['benchmark']}/{row['metric']}".replace("@", "_at_"): float(str(row["value"])) for row in rows}
        mlflow.tracking().reopen(str(checkpoint["mlflow_run_id"])).log_metrics(scored, int(str(checkpoint["steps"])))
    return work.finish(
        {"checkpoint_id": versions["checkpoint"]},
        rows_in=len(rows),
        changed=commit.written,
        preview=preview(settings, f"recipes/{name}", "scores.png"),
        extra={
            f"{row['benchmark']}/{row['metric']}": f"{100 * float(str(row['value'])):.2f} "
            f"[{100 * float(str(row['low'])):.2f}, {100 * float(str(row['high'])):.2f}]"
            for row in rows
        },
    )
