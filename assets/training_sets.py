"""training_sets: the samples of each recipe."""

from urllib.parse import quote

import dagster as dg

from assets.shared.columns import table_metadata
from assets.shared.materialisation import OWNERS, Materialisation, preview
from assets.shared.partitions import recipe_partitions
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from veclip_pipelines import stages
from veclip_pipelines.mixing.figures import figures_table, set_figures, write_figures
from veclip_pipelines.mixing.training_set import make_training_set, pins_of
from veclip_pipelines.planning.inputs import training_set_inputs


@dg.asset(
    partitions_def=recipe_partitions,
    deps=[
        *(
            dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping() if stages.STAGES[name].keyed_by else None)
            for name in stages.TRAINING_SETS.upstream
        ),
        "recipes",
    ],
    group_name="training",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version=stages.TRAINING_SETS.code_version,
    metadata=table_metadata(stages.TRAINING_SETS.table),
    description="The samples of a recipe, with the texts that training draws from and their probabilities. "
    "A set's version is the hash of its recipe and of the versions of all its inputs. One partition is one recipe.",
)
def training_sets(
    context: dg.AssetExecutionContext, delta_lake: DeltaLakeResource, home: HomeResource
) -> dg.MaterializeResult[None]:
    warehouse, settings = delta_lake.warehouse(), home.settings()
    inputs = training_set_inputs(settings, warehouse, context.partition_key)
    work = Materialisation(context, warehouse, settings, stages.TRAINING_SETS, inputs.versions)
    made = make_training_set(
        warehouse,
        inputs.mix,
        inputs.versions,
        properties=work.properties,
    )
    context_length = int(inputs.config["text_config"]["max_position_embeddings"])
    figures = set_figures(warehouse, inputs.recipe.model, context_length, made)
    write_figures(warehouse, made, figures, properties=work.properties)
    return work.finish(
        {"recipe": made.recipe, "set_version": made.set_version},
        rows_in=made.rows,
        changed=made.changed,
        preview=preview(settings, f"recipes/{made.recipe}", f"recipes/{made.recipe}/texts.png"),
        extra={
            "set_version": made.set_version,
            "data_card": dg.MetadataValue.url(f"{settings.serve_url}/reports/{quote(made.recipe)}@{made.set_version}"),
            "parts": dg.MetadataValue.md(figures_table(figures)),
            "pinned_versions": dg.MetadataValue.json(
                {name: pin.version for name, pin in pins_of(warehouse, inputs.mix).items()}
            ),
        },
    )
