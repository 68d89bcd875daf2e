"""What the captioning assets show of their guards: rates in the metadata, and the plot and examples in ``veclip serve``."""

import dagster as dg
from duckdb import DuckDBPyConnection

from assets.shared.check_factory import Check, CheckOutcome
from assets.shared.materialisation import Metadata, preview
from veclip_pipelines.captioning.guard_rates import GuardCounts, bands, earlier_counts, noted_counts
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.tables.provenance import latest
from veclip_pipelines.tables.warehouse import Warehouse


def guard_metadata(settings: Settings, asset: str, counts: GuardCounts) -> Metadata:
    """The share of rows that each guard objected to. Examples are strangers' text, so they are only linked to."""
    if not counts.rows:
        return {}
    rows = [f"| {reason} | {count} | {count / counts.rows:.1%} |" for reason, count in counts.faults.items()]
    page = f"partitions/{counts.partition}/guards/{asset}"
    table = "\n".join(["| guard | rows | share |", "| --- | ---: | ---: |", *rows]) if rows else "no guard objected"
    shares = {f"guard/{reason}": count / counts.rows for reason, count in counts.faults.items()}
    return {
        "guards": dg.MetadataValue.md(table),
        **shares,
        **preview(settings, page, f"{page}.png", "guards_examples"),
    }


def guard_rates_in_band(asset: str) -> Check:
    """A check that the newest materialisation's guard rates are within the range of the last ten partitions."""

    def check(warehouse: Warehouse, connection: DuckDBPyConnection, key: str) -> CheckOutcome:
        del connection
        newest = latest(warehouse, asset, key)
        if newest is None or not newest.guards:
            return CheckOutcome(True, "no rates are recorded for this partition", {})
        earlier = earlier_counts(warehouse, asset, key, newest.engine)
        found = bands(noted_counts(newest), earlier)
        outside = [band for band in found if not band.holds]
        says = "; ".join(
            f"{band.reason} {band.rate:.1%}, expected {band.expected:.1%} ({band.low:.1%} to {band.high:.1%})"
            for band in outside
        )
        if not found:
            says = f"{len(earlier)} earlier partitions of this engine: too few, or no guard ever objected"
        figures: dict[str, int | str] = {"earlier_partitions": len(earlier), "outside": len(outside)}
        return CheckOutcome(not outside, says or f"{len(found)} rates are within their bands", figures)

    return check
