"""scoreboard: the scores of all checkpoints, beside the paper's table."""

import dagster as dg

from assets.shared.automation import AFTER_A_WAVE
from assets.shared.materialisation import OWNERS
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource


@dg.asset(
    deps=[dg.AssetDep("benchmark_scores", partition_mapping=dg.AllPartitionMapping())],
    group_name="evaluation",
    kinds={"python"},
    owners=OWNERS,
    automation_condition=AFTER_A_WAVE,
    description="The newest scores of each recipe beside the paper's table, with a plot: in the metadata here, as a page of veclip "
    "serve, and as one HTML file to send to others.",
)
def scoreboard(delta_lake: DeltaLakeResource, home: HomeResource) -> dg.MaterializeResult[None]:
    from veclip_pipelines.evaluation import scoreboard as board  # imports matplotlib

    settings = home.settings()
    ours, paper = board.our_rows(board.newest_scores(delta_lake.warehouse())), board.paper_rows()
    target = settings.home / "reports" / "scoreboard.html"
    board.write_page(target, ours, paper)
    return dg.MaterializeResult(
        metadata={
            "models": len(ours),
            "scores": dg.MetadataValue.md(board.markdown(ours) if ours else "no scores yet"),
            "the_paper": dg.MetadataValue.md(board.markdown(paper)),
            "page": dg.MetadataValue.url(f"{settings.serve_url}/scoreboard"),
            "plot": dg.MetadataValue.md(
                f"![scores]({settings.serve_url}/scoreboard.png)\n\n(shown while `veclip serve` runs)"
            ),
            "file": dg.MetadataValue.path(str(target)),
        }
    )
