"""The experiment: its data, and its report. What comes in between are ordinary crawl partitions and recipes."""

import dataclasses

import dagster as dg
from pydantic import Field

from assets.shared.materialisation import OWNERS
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from veclip_pipelines.experiment.data import Sizes, write_benchmarks, write_crawl
from veclip_pipelines.experiment.design import Plan, write_recipes
from veclip_pipelines.experiment.findings import markdown
from veclip_pipelines.experiment.folders import crawl_folder, install_captioner, report_folder

_GROUP = "experiment"


class ExperimentConfig(dg.Config):
    """How large the experiment is."""

    small: bool = Field(
        default=False,
        description="The short version, which takes a few minutes: few pictures, one seed, no small data size.",
    )

    def plan(self) -> Plan:
        return Plan.small() if self.small else Plan()

    def sizes(self) -> Sizes:
        return Sizes.small() if self.small else Sizes()


@dg.asset(
    group_name=_GROUP,
    kinds={"python"},
    owners=OWNERS,
    description="Generated scenes as three crawl drops, two held-out benchmarks, the captioner, and a recipe for each run of the "
    "experiment. Registered and materialised by make experiment, like any other crawl.",
)
def experiment_data(
    context: dg.AssetExecutionContext, config: ExperimentConfig, home: HomeResource
) -> dg.MaterializeResult[None]:
    settings = home.settings()
    install_captioner(settings)
    drops = write_crawl(crawl_folder(settings), config.sizes())
    benchmarks = write_benchmarks(settings.benchmarks, config.sizes())
    recipes = write_recipes(settings.home, config.plan())
    context.log.info("%d drops, %d benchmarks, %d recipes", len(drops), len(benchmarks), len(recipes))
    return dg.MaterializeResult(
        metadata={
            "drops": ", ".join(drop.name for drop in drops),
            "benchmarks": ", ".join(folder.name for folder in benchmarks),
            "recipes": len(recipes),
            **{f"pictures_{name}": number for name, number in dataclasses.asdict(config.sizes()).items()},
        }
    )


@dg.asset(
    deps=[dg.AssetDep("benchmark_scores", partition_mapping=dg.AllPartitionMapping()), experiment_data],
    group_name=_GROUP,
    kinds={"python"},
    owners=OWNERS,
    description="What the experiment's runs show: means over seeds with intervals, the paper's claims and the controls, and a plot "
    "beside the paper's.",
)
def experiment_report(
    config: ExperimentConfig, delta_lake: DeltaLakeResource, home: HomeResource
) -> dg.MaterializeResult[None]:
    from veclip_pipelines.experiment.write_up import write_report  # imports matplotlib

    settings = home.settings()
    folder = report_folder(settings)
    found, told = write_report(delta_lake.warehouse(), config.plan(), folder)
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.md(markdown(found, told)),
            "folder": dg.MetadataValue.path(str(folder)),
            "plot": dg.MetadataValue.md(
                f"![scores]({settings.serve_url}/experiment.png)\n\n(shown while `veclip serve` runs)"
            ),
            "claims_that_hold": sum(item.verdict == "holds" for item in told),
            "claims": len(told),
        }
    )
