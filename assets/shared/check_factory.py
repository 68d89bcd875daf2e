"""Makes Dagster's asset checks from plain functions: one step for all checks of an asset."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg
from duckdb import DuckDBPyConnection

from resources.delta_lake import DeltaLakeResource
from resources.duckdb import DuckDBResource
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class CheckOutcome:
    """What a check saw: whether all is well, one sentence, and figures. Keys of rows, never a stranger's text."""

    passed: bool
    says: str
    figures: dict[str, int | str]


Check = Callable[[Warehouse, DuckDBPyConnection, str], CheckOutcome]


def checks_of(
    asset: str, partitions: dg.PartitionsDefinition[str] | None, checks: dict[str, tuple[Check, bool]]
) -> dg.AssetChecksDefinition:
    with warnings.catch_warnings():
        # partitions_def of a check is in preview; the release is pinned, and each process would print it five times.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        specs = [
            dg.AssetCheckSpec(
                name=name,
                asset=asset,
                blocking=blocking,
                partitions_def=partitions,
                description=(check.__doc__ or "").split("\n")[0],
            )
            for name, (check, blocking) in checks.items()
        ]

    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs, can_subset=True)
    def run_checks(
        context: dg.AssetCheckExecutionContext, delta_lake: DeltaLakeResource, duckdb: DuckDBResource
    ) -> Iterator[dg.AssetCheckResult]:
        warehouse = delta_lake.warehouse()
        with duckdb.connection() as connection:
            for key in context.selected_asset_check_keys:
                check, blocking = checks[key.name]
                outcome = check(warehouse, connection, context.partition_key if partitions else "all")
                yield dg.AssetCheckResult(
                    asset_key=key.asset_key,
                    check_name=key.name,
                    passed=outcome.passed,
                    severity=dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN,
                    description=outcome.says,
                    metadata=dict(outcome.figures),
                )

    return run_checks


def described(check: Check, description: str) -> Check:
    check.__doc__ = description
    return check
