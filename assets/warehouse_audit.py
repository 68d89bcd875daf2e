"""audit: the whole warehouse checked once a day, one asset check for each kind of finding."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from assets.shared.materialisation import OWNERS
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from resources.mlflow import MlflowResource
from veclip_pipelines.audit.auditing import CHECKS, AuditReport
from veclip_pipelines.audit.auditing import audit as look
from veclip_pipelines.audit.record_checks import Materialised
from veclip_pipelines.planning.staleness import Staleness
from veclip_pipelines.stages import ALL, STAGES

_SHOWN = 20


class AuditConfig(dg.Config):
    """How thorough the audit is."""

    sample: int = Field(default=100, ge=0, description="Number of rows drawn and traced to their picture's bytes.")
    seed: int = Field(default=0, description="Which rows are drawn.")
    rebuild: bool = Field(default=True, description="Rebuild each training set from its pins, and compare.")


def materialised(instance: dg.DagsterInstance) -> list[Materialised]:
    """The newest materialisation of each partition of the tables' assets, as Dagster knows it."""
    keys: list[tuple[str, str | None]] = []
    for name, stage in STAGES.items():
        made = sorted(instance.get_materialized_partitions(dg.AssetKey(name))) if stage.keyed_by else [None]
        keys += [(name, key) for key in made]
    return [one for key in keys if (one := _newest(instance, *key)) is not None]


def _newest(instance: dg.DagsterInstance, asset: str, partition: str | None) -> Materialised | None:
    partitions = None if partition is None else [partition]
    filter_ = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=partitions)
    records = instance.fetch_materializations(filter_, limit=1).records
    event = records[0].asset_materialization if records else None
    if event is None:
        return None
    rows = event.metadata.get("rows_kept")
    version = (event.tags or {}).get("dagster/data_version", "")
    return Materialised(asset, partition or ALL, version, None if rows is None else int(str(rows.value)))


@dg.asset(
    group_name="lineage",
    kinds={"python", "duckdb"},
    owners=OWNERS,
    deps=list(STAGES),
    check_specs=[dg.AssetCheckSpec(name, asset="audit", description=f"{says}.") for name, says in CHECKS.items()],
    description="Whether the warehouse's records are true: rows in and out, captions, pins, weights, scores, files, takedowns, and "
    "that Dagster, the provenance and the tables agree. Runs once a day, and with veclip audit.",
)
def audit(
    context: dg.AssetExecutionContext,
    config: AuditConfig,
    delta_lake: DeltaLakeResource,
    mlflow: MlflowResource,
    home: HomeResource,
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    settings = home.settings()
    report = look(
        delta_lake.warehouse(),
        mlflow.tracking(),
        sample=config.sample,
        seed=config.seed,
        rebuild=config.rebuild,
        shards=settings.shards,
        materialised=materialised(context.instance),
    )
    stale = Staleness(settings, delta_lake.warehouse()).of_what_was_made()
    yield dg.MaterializeResult(
        metadata={
            "findings": len(report.findings),
            "stale": dg.MetadataValue.json({one.key: list(one.assets) for one in stale}),
            **{f"looked_at/{name}": count for name, count in report.checked.items()},
        }
    )
    yield from (_check_result(report, name) for name in CHECKS)


def _check_result(report: AuditReport, name: str) -> dg.AssetCheckResult:
    looked_at, found = report.checked.get(name, 0), [one for one in report.findings if one.check == name]
    # Places and numbers only: a finding contains no stranger's text.
    shown = "\n".join(f"- `{one.where}`: {one.what}" for one in found[:_SHOWN])
    return dg.AssetCheckResult(
        check_name=name,
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{looked_at} looked at, {len(found)} findings",
        metadata={"looked_at": looked_at, **({"findings": dg.MetadataValue.md(shown)} if found else {})},
    )
