"""checkpoints: a CLIP trained on each recipe's set."""

from urllib.parse import quote

import dagster as dg
from pydantic import Field

from assets.shared.columns import table_metadata
from assets.shared.materialisation import OWNERS, Materialisation, launched_by, preview
from assets.shared.partitions import recipe_partitions
from resources.dask_cluster import DaskClusterResource
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from resources.mlflow import MlflowResource
from veclip_pipelines import stages
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.planning.inputs import checkpoint_inputs, training_set_inputs
from veclip_pipelines.training.checkpoint import CheckpointTask, find_checkpoint
from veclip_pipelines.training.loader import LoaderSettings
from veclip_pipelines.training.ranks import train_checkpoint


class CheckpointsConfig(dg.Config):
    """How a training is carried out. None of it affects what is trained."""

    ranks: int = Field(default=0, ge=0, description="Dask workers that train together, one rank each; 0: all of them.")
    decode_workers: int = Field(default=2, ge=1, description="Threads or processes that decode pictures, per rank.")
    decode_in_processes: bool = Field(default=False, description="Decode in processes, started by spawn.")


@dg.asset(
    partitions_def=recipe_partitions,
    deps=[*stages.CHECKPOINTS.upstream, "recipes"],
    group_name="training",
    kinds={"python", "dask", "torch", "mlflow"},
    owners=OWNERS,
    code_version=stages.CHECKPOINTS.code_version,
    metadata=table_metadata(stages.CHECKPOINTS.table),
    pool="training",
    description="A CLIP (transformers CLIPModel) trained on a recipe's set: one of each sample's texts is drawn at "
    "each step. One rank per Dask worker; a training that was cut off resumes from its last state. Weights as safetensors, one "
    "MLflow run and one registered version each.",
)
def checkpoints(
    context: dg.AssetExecutionContext,
    config: CheckpointsConfig,
    delta_lake: DeltaLakeResource,
    dask: DaskClusterResource,
    mlflow: MlflowResource,
    home: HomeResource,
) -> dg.MaterializeResult[None]:
    warehouse, settings, name = delta_lake.warehouse(), home.settings(), context.partition_key
    inputs = training_set_inputs(settings, warehouse, name)
    checkpoint_id = inputs.checkpoint_id
    work = Materialisation(context, warehouse, settings, stages.CHECKPOINTS, checkpoint_inputs(inputs))
    found = find_checkpoint(warehouse, checkpoint_id)
    row = found
    if row is None:
        task = CheckpointTask(
            warehouse=warehouse,
            folder=settings.checkpoints / checkpoint_id,
            recipe=inputs.recipe,
            config=inputs.config,
            set_version=inputs.set_version,
            checkpoint_id=checkpoint_id,
            tracking=mlflow.tracking(),
            run_id=context.run_id,
            launched_by=launched_by(context.run.tags),
            loader=LoaderSettings(config.decode_workers, config.decode_in_processes),
            note=_way_back(settings, name, checkpoint_id, context.run_id),
        )
        with dask.runner(context.run_id) as runner:
            row = train_checkpoint(runner, task, config.ranks)
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
            "mlflow": dg.MetadataValue.url(mlflow.tracking().run_url(str(row["mlflow_run_id"]), settings.mlflow_url)),
            "data_card": dg.MetadataValue.url(f"{settings.serve_url}/reports/{checkpoint_id}"),
            "mlflow_model": f"veclip-{name}",
            "final_loss": float(str(row["final_loss"])),
            "samples": int(str(row["samples"])),
        },
    )


def _way_back(settings: Settings, recipe: str, checkpoint_id: str, run_id: str) -> str:
    """Links from the MLflow run to what made it."""
    asset = f"{settings.dagster_url}/assets/checkpoints?view=partitions&partition={quote(recipe)}"
    return (
        f"[Checkpoint in Dagster]({asset}), [its run]({settings.dagster_url}/runs/{run_id}), "
        f"[data card]({settings.serve_url}/reports/{checkpoint_id}), "
        f"[trace]({settings.serve_url}/trace?as=checkpoint&of={checkpoint_id})"
    )
