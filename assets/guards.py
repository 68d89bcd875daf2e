"""What the captioning assets say of their guards: rates in the metadata, the plot and the examples in ``veclip serve``."""

import dagster as dg

from assets.materialisation import preview
from veclip_pipelines.lineage.guard_rates import GuardCounts
from veclip_pipelines.settings import Settings


def guard_metadata(settings: Settings, asset: str, counts: GuardCounts) -> dict[str, object]:
    """The share of rows that each guard objected to. Examples are foreign text: they are behind the link."""
    if not counts.rows:
        return {}
    rows = [f"| {reason} | {count} | {count / counts.rows:.1%} |" for reason, count in counts.faults.items()]
    page = f"partitions/{counts.partition}/guards/{asset}"
    table = "\n".join(["| guard | rows | share |", "| --- | ---: | ---: |", *rows]) if rows else "no guard objected"
    shares = {f"guard/{reason}": count / counts.rows for reason, count in counts.faults.items()}
    return {
        "guards": dg.MetadataValue.md(table),
        "guarded_share": sum(counts.faults.values()) / counts.rows,
        **shares,
        **preview(settings, page, f"{page}.png", "guards_examples"),
    }
