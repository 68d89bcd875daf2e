"""checkpoints: a CLIP trained on each recipe's set."""

import dagster as dg

from assets.columns import table_metadata
from assets.inputs import checkpoint_inputs, training_set_inputs
from assets.materialisation import OWNERS, Materialisation, launched_by, preview
from assets.partitions import recipe_partitions
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from resources.mlflow import MlflowResource
from veclip_pipelines.tables.schemas import CHECKPOINTS
from veclip_pipelines.training.checkpoint import (
    CODE_VERSION,
    CheckpointTask,
    find_checkpoint,
    train_checkpoint,
)


@dg.asset(
    partitions_def=recipe_partitions,
    deps=["training_sets", "recipes"],
    group_name="training",
    kinds={"python", "dask", "torch", "mlflow"},
    owners=OWNERS,
    code_version=CODE_VERSION,
    metadata=table_metadata(CHECKPOINTS),
    pool="training",
    description="A CLIP (transformers CLIPModel) trained on a recipe's set: for each sample one of its texts is drawn at "
    "each step. Weights as safetensors, one MLflow run each.",
)
def checkpoints(
    context: dg.AssetExecutionContext,
    delta_lake: DeltaLakeResource,
    dask: DaskClusterResource,
    mlflow: MlflowResource,
    home: HomeResource,
) -> dg.MaterializeResult[None]:
    warehouse, settings, name = delta_lake.warehouse(), home.settings(), context.partition_key
    inputs = training_set_inputs(settings, warehouse, name)
    checkpoint_id = inputs.checkpoint_id
    work = Materialisation(context, warehouse, settings, CHECKPOINTS, CODE_VERSION, checkpoint_inputs(inputs))
    found = find_checkpoint(warehouse, checkpoint_id)
    row = found
    if row is None:
        task = CheckpointTask(
            warehouse=warehouse,
            folder=settings.checkpoints / checkpoint_id,
            recipe=inputs.recipe,
            set_version=inputs.set_version,
            checkpoint_id=checkpoint_id,
            tracking=mlflow.tracking(),
            run_id=context.run_id,
            launched_by=launched_by(context.run.tags),
        )
        with dask.runner(context.run_id) as runner:
            row = next(iter(runner.run(train_checkpoint, [task], label="checkpoints")))
    return work.finish(
        {"checkpoint_id": checkpoint_id},
        rows_in=1,
        changed=found is None,
        preview=preview(settings, f"recipes/{name}", f"checkpoints/{checkpoint_id}/loss.png"),
        extra={
            "checkpoint": dg.MetadataValue.path(str(row["uri"])),
            "weights_sha256": str(row["weights_sha256"]),
            "set_version": str(row["set_version"]),
            "mlflow_run_id": str(row["mlflow_run_id"]),
            "final_loss": float(str(row["final_loss"])),
            "samples": int(str(row["samples"])),
        },
    )
