"""audit: the whole warehouse checked once a day, one asset check for each kind of finding."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from assets.shared.materialisation import OWNERS
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from resources.mlflow import MlflowResource
from veclip_pipelines.audit.audit_runs import Materialised
from veclip_pipelines.audit.auditing import CHECKS
from veclip_pipelines.audit.auditing import audit as look
from veclip_pipelines.planning.staleness import Staleness
from veclip_pipelines.schemas.crawl_schemas import TABLES

AUDIT = "audit_warehouse"
_PARTITIONED = ("raw_crawl", "concept_captions", "vecap", "training_sets", "checkpoints", "benchmark_scores")
_UNPARTITIONED = ("duplicates",)
_SHOWN = 20


class AuditConfig(dg.Config):
    """How closely it is looked."""

    sample: int = Field(default=100, ge=0, description="Rows that are drawn and followed to their picture's bytes.")
    seed: int = Field(default=0, description="Which rows are drawn.")
    rebuild: bool = Field(default=True, description="Make each training set again from its pins, and compare.")


def materialised(instance: dg.DagsterInstance) -> list[Materialised]:
    """The newest materialisation of each partition of the tables' assets, as Dagster knows it."""
    keys: list[tuple[str, str | None]] = [(asset, None) for asset in _UNPARTITIONED]
    for asset in _PARTITIONED:
        keys += [(asset, key) for key in sorted(instance.get_materialized_partitions(dg.AssetKey(asset)))]
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
    return Materialised(asset, partition or "all", version, None if rows is None else int(str(rows.value)))


@dg.asset(
    group_name="lineage",
    kinds={"python", "duckdb"},
    owners=OWNERS,
    deps=list(TABLES.keys() & {*_PARTITIONED, *_UNPARTITIONED}),
    check_specs=[dg.AssetCheckSpec(name, asset="audit", description=f"{says}.") for name, says in CHECKS.items()],
    description="Whether the warehouse is what it says it is: rows in and out, captions, pins, weights, scores, files, takedowns, and "
    "that Dagster, the provenance and the tables tell the same. Once a day, and by veclip audit.",
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
    for name in CHECKS:
        found = [one for one in report.findings if one.check == name]
        # Places and numbers: nothing in a finding is a stranger's text.
        told = "\n".join(f"- `{one.where}`: {one.what}" for one in found[:_SHOWN])
        yield dg.AssetCheckResult(
            check_name=name,
            passed=not found,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{report.checked.get(name, 0)} looked at, {len(found)} findings",
            metadata={
                "looked_at": report.checked.get(name, 0),
                **({"findings": dg.MetadataValue.md(told)} if found else {}),
            },
        )


audit_job = dg.define_asset_job(
    AUDIT, selection=dg.AssetSelection.assets("audit"), description="Checks the whole warehouse."
)
audit_schedule = dg.ScheduleDefinition(
    name="audit_daily",
    job=audit_job,
    cron_schedule="30 4 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a day, after the takedowns.",
)
