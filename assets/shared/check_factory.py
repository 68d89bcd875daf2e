"""Makes Dagster's asset checks from plain functions: one step for all checks of an asset."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import dagster as dg
from duckdb import DuckDBPyConnection

from resources.delta_lake import DeltaLakeResource
from resources.duckdb import DuckDBResource
from resources.home import HomeResource
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.stages import ALL
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class CheckOutcome:
    """What a check found: whether it passed, one sentence, and figures. Row keys, but never a stranger's text."""

    passed: bool
    says: str
    figures: dict[str, int | str]


Check = Callable[[Warehouse, DuckDBPyConnection, str], CheckOutcome]
#: A check that also looks at what is not in the tables: recipes, benchmarks.
SettingsCheck = Callable[[Warehouse, Settings, str], CheckOutcome]


def checks_of(
    asset: str,
    partitions: dg.PartitionsDefinition[str] | None,
    checks: Mapping[str, tuple[Check, bool]],
    settings_checks: Mapping[str, tuple[SettingsCheck, bool]] = MappingProxyType({}),
) -> dg.AssetChecksDefinition:
    """All checks of an asset, by name: what each does, and whether it blocks what is downstream."""
    with warnings.catch_warnings():
        # A check's partitions_def is in preview; the release is pinned, and each process would print the warning five times.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        specs = [
            dg.AssetCheckSpec(
                name=name,
                asset=asset,
                blocking=blocking,
                partitions_def=partitions,
                description=(check.__doc__ or "").split("\n")[0],
            )
            for name, (check, blocking) in {**checks, **settings_checks}.items()
        ]

    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs, can_subset=True)
    def run_checks(
        context: dg.AssetCheckExecutionContext,
        home: HomeResource,
        delta_lake: DeltaLakeResource,
        duckdb: DuckDBResource,
    ) -> Iterator[dg.AssetCheckResult]:
        warehouse = delta_lake.warehouse()
        with duckdb.connection() as connection:
            for key in context.selected_asset_check_keys:
                partition = context.partition_key if partitions else ALL
                if key.name in checks:
                    check, blocking = checks[key.name]
                    outcome = check(warehouse, connection, partition)
                else:
                    settings_check, blocking = settings_checks[key.name]
                    outcome = settings_check(warehouse, home.settings(), partition)
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
