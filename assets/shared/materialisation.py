"""What every table asset does after its one call: count, record the provenance, and tell Dagster."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg
import pyarrow as pa
from dagster._core.definitions.metadata import RawMetadataValue
from deltalake import DeltaTable

from assets.shared.run_log import note_process
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.schemas.shared_columns import REJECTED
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.stages import ALL, Stage
from veclip_pipelines.tables.commit import files_of
from veclip_pipelines.tables.provenance import Provenance, record
from veclip_pipelines.tables.query import connect, content_version
from veclip_pipelines.tables.warehouse import Warehouse

LAUNCHED_BY_TAG = "veclip/launched_by"
#: What Dagster shows of a materialisation, by name.
Metadata = Mapping[str, RawMetadataValue]
OWNERS = ["team:data-engineering"]


def launched_by(tags: Mapping[str, str]) -> str:
    """Who launched a run: the command line says so in a tag; for other runs, what Dagster knows."""
    for tag, prefix in (
        (LAUNCHED_BY_TAG, ""),
        ("user", ""),
        ("dagster/backfill", "backfill "),
        ("dagster/schedule_name", "schedule "),
        ("dagster/sensor_name", "sensor "),
    ):
        if tags.get(tag):
            return prefix + tags[tag]
    return "dagster-ui"


def partition_of(context: dg.AssetExecutionContext) -> str:
    """The Dagster partition; "all" for an asset that has none."""
    return context.partition_key if context.has_partition_key else ALL


@dataclass(frozen=True)
class Materialisation:
    """One materialisation of a table's partition, from its start on.

    Attributes:
        stage: whose table is written.
        inputs: versions of everything that is read.
        started: when it began, by the monotonic clock, in seconds.
    """

    context: dg.AssetExecutionContext
    warehouse: Warehouse
    settings: Settings
    stage: Stage
    inputs: Mapping[str, str]
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        note_process(self.context.instance, self.context.run)

    @property
    def spec(self) -> TableSpec:
        """The stage's table."""
        return self.stage.table

    @property
    def properties(self) -> dict[str, str]:
        """What each Delta commit of the run carries."""
        return {
            "run_id": self.context.run_id,
            "asset": self.stage.name,
            "partition": partition_of(self.context),
            "code_version": self.stage.code_version,
            "launched_by": launched_by(self.context.run.tags),
        }

    def finish(
        self,
        partition: Mapping[str, str],
        *,
        rows_in: int,
        changed: bool,
        preview: Metadata,
        extra: Metadata,
        guards: str | None = None,
    ) -> dg.MaterializeResult[None]:
        """Records the provenance and returns what Dagster shows."""
        data_version, rows = content_version(self.warehouse, self.spec, partition)
        reasons = reject_reasons(self.warehouse, self.spec, partition)
        rejected = sum(reasons.values())
        table = self.warehouse.open(self.spec)
        delta_version = table.version() if table else None
        seconds = time.monotonic() - self.started
        record(
            self.warehouse,
            Provenance(
                asset=self.spec.name,
                partition=partition_of(self.context),
                run_id=self.context.run_id,
                inputs=self.inputs,
                data_version=data_version,
                delta_version=delta_version,
                files=files_of(table, partition) if set(partition) == set(self.spec.partition_by) else (),
                rows_in=rows_in,
                rows_kept=rows - rejected,
                rows_rejected=rejected,
                seconds=seconds,
                code_version=self.stage.code_version,
                launched_by=launched_by(self.context.run.tags),
                guards=guards,
            ),
        )
        metadata: dict[str, RawMetadataValue] = {
            **preview,
            **({"dagster/partition_row_count": rows} if self.context.has_partition_key else {}),
            "dagster/row_count": row_count(table),
            "dagster/uri": self.warehouse.uri(self.spec),
            "rows_in": rows_in,
            "rows_kept": rows - rejected,
            "rows_rejected": rejected,
            "changed": changed,
            "delta_version": delta_version if delta_version is not None else -1,
            "seconds": round(seconds, 2),
            "launched_by": launched_by(self.context.run.tags),
            "inputs": dg.MetadataValue.json(dict(self.inputs)),
            **extra,
        }
        if reasons:
            metadata["rejects_by_reason"] = dg.MetadataValue.md(reasons_table(reasons))
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(data_version))


def row_count(table: DeltaTable | None) -> int:
    """Number of rows of a whole table, from the file statistics alone."""
    if table is None:
        return 0
    return sum(pa.table(table.get_add_actions(flatten=True))["num_records"].to_pylist())


def reject_reasons(warehouse: Warehouse, spec: TableSpec, partition: Mapping[str, str]) -> dict[str, int]:
    """Number of rejects by reason code, the most frequent first; empty for tables without rejects."""
    if "outcome" not in spec.schema.names:
        return {}
    where = " AND ".join([f"outcome = '{REJECTED}'", *(f"{column} = ?" for column in partition)])
    with connect(warehouse, [spec.name]) as connection:
        cursor = connection.execute(
            f"SELECT coalesce(reason, 'unknown'), count(*) FROM {spec.name} WHERE {where} GROUP BY 1 ORDER BY 2 DESC, 1",  # noqa: S608
            list(partition.values()),
        )
        return dict(cursor.fetchall())


def reasons_table(reasons: Mapping[str, int], what: str = "reason") -> str:
    """Counts as a Markdown table. Reason codes can come from a drop's own files: Markdown's special characters are removed."""
    rows = [
        f"| {''.join(c for c in reason if c.isalnum() or c in '_- ')[:40]} | {count} |"
        for reason, count in reasons.items()
    ]
    return "\n".join([f"| {what} | rows |", "| --- | ---: |", *rows])


def preview(settings: Settings, path: str, image: str, name: str = "preview") -> Metadata:
    """Link to a page of ``veclip serve`` and its picture. No stranger's text goes into Dagster's event log."""
    return {
        name: dg.MetadataValue.url(f"{settings.serve_url}/{path}"),
        f"{name}_image": dg.MetadataValue.md(
            f"![preview]({settings.serve_url}/{image})\n\n(shown while `veclip serve` runs)"
        ),
    }
