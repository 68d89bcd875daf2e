"""Asset checks: they are partitioned, read context.partition_key and take no data as input; one step runs all checks of an asset.

Blocking checks stop what is downstream in the same run.
"""

import dagster as dg
from deltalake import Schema as DeltaSchema
from duckdb import DuckDBPyConnection

from assets.orchestration.leaks import no_benchmark_leak
from assets.shared.check_factory import Check, CheckOutcome, SettingsCheck, checks_of, described
from assets.shared.guards import guard_rates_in_band
from assets.shared.partitions import crawl_partitions, recipe_partitions
from veclip_pipelines.crawl.drops import inspect_drop, registered_drop
from veclip_pipelines.media.texts import is_file_name
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.stages import CRAWL_PARTITION, RECIPE, STAGES, Stage, caption_stages, tables, version_of
from veclip_pipelines.tables.provenance import latest, newest_engine
from veclip_pipelines.tables.query import Asker
from veclip_pipelines.tables.warehouse import Warehouse

_SHOWN = 5
_BALANCE = "rows_in_equal_kept_plus_rejected"
_IN_BAND = "Each guard's rate is within three sigmas of the last ten partitions of the same engine."


def rows_balance_raw_crawl(warehouse: Warehouse, connection: DuckDBPyConnection, key: str) -> CheckOutcome:
    """Every entry of the drop is a row, kept or rejected: compared with the drop's own record, else with its reader's count."""
    drop, source = registered_drop(warehouse, key), latest(warehouse, "raw_crawl", key)
    entries = inspect_drop(drop.uri).entries if drop.state == "active" and drop.entries is not None else None
    if entries is None:
        entries = source.rows_in if source else 0
    (rows,) = Asker(connection).row("SELECT count(*) FROM raw_crawl WHERE crawl_partition = ?", [key])
    return _balance(entries, rows, "entries of the drop")


def one_row_for_each(stage: Stage) -> Check:
    """A check that every kept picture or sample, whichever the stage describes, has one row.

    For captions it considers only the newest materialisation's engine: those of other engines may be older than the raw crawl.
    """
    column = str(stage.describes)
    what = {"image_sha256": "picture", "sample_id": "sample"}[column]

    def check(warehouse: Warehouse, connection: DuckDBPyConnection, key: str) -> CheckOutcome:
        del warehouse
        ask, part = Asker(connection), {CRAWL_PARTITION: key}
        (described_rows,) = ask.row(
            f"SELECT count(DISTINCT {column}) FROM raw_crawl WHERE outcome = 'kept' AND crawl_partition = ?",  # noqa: S608
            [key],
        )
        if stage.has_engines:
            part["engine_id"] = newest_engine(ask, stage.name, key)
        where = " AND ".join(f"{name} = ?" for name in part)
        rows, distinct = ask.row(
            f"SELECT count(*), count(DISTINCT {column}) FROM {stage.name} WHERE {where}",  # noqa: S608
            list(part.values()),
        )
        outcome = _balance(described_rows, rows, f"kept {what}s")
        return CheckOutcome(outcome.passed and rows == distinct, outcome.says, outcome.figures)

    return described(check, f"Every kept {what} has one row{' per engine' if stage.has_engines else ''}.")


def rows_balance_training_sets(warehouse: Warehouse, connection: DuckDBPyConnection, key: str) -> CheckOutcome:
    """Every kept sample of the set's crawl partitions is in the set once, kept or rejected."""
    source = latest(warehouse, "training_sets", key)
    inputs = source.inputs if source else {}
    partitions = [name.partition("/")[2] for name in inputs if name.startswith("raw_crawl/")]
    ask = Asker(connection)
    (samples,) = ask.row(
        "SELECT count(DISTINCT sample_id) FROM raw_crawl WHERE outcome = 'kept' AND list_contains(?, crawl_partition)",
        [partitions],
    )
    rows, distinct = ask.row(
        "SELECT count(*), count(DISTINCT sample_id) FROM training_sets WHERE recipe = ? AND set_version = ?",
        [key, version_of(inputs)],
    )
    outcome = _balance(samples, rows, "kept samples of its crawl partitions")
    return CheckOutcome(outcome.passed and rows == distinct > 0, outcome.says, outcome.figures)


def groups_are_of_kept_samples(warehouse: Warehouse, connection: DuckDBPyConnection, key: str) -> CheckOutcome:
    """Each group has several samples, all of them kept, and is named after the smallest."""
    rows = connection.execute(
        "SELECT group_id FROM duplicates GROUP BY group_id HAVING count(*) < 2 OR min(sample_id) <> group_id "
        "UNION SELECT group_id FROM duplicates ANTI JOIN (SELECT sample_id FROM raw_crawl WHERE outcome = 'kept') USING (sample_id)"
    ).fetchall()
    return _none_of(rows, "groups are wrong")


def schema_is_as_declared(table: str) -> Check:
    """A check that the Delta table has the declared columns and types."""

    def check(warehouse: Warehouse, connection: DuckDBPyConnection, key: str) -> CheckOutcome:
        del connection, key
        spec = tables()[table]
        found = warehouse.open(spec)
        if found is None:
            return CheckOutcome(False, f"table {table} does not exist", {})
        present = {field.name: field for field in DeltaSchema.from_arrow(spec.schema).fields}
        actual = {field.name: field for field in found.schema().fields}
        wrong = [
            name for name, field in present.items() if name in actual and str(actual[name].type) != str(field.type)
        ]
        wrong += sorted(set(present) - set(actual))
        extra = sorted(set(actual) - set(present))
        return CheckOutcome(
            not wrong and not extra,
            f"{len(present)} columns declared, {len(wrong)} differ, {len(extra)} unknown",
            {
                "differing": len(wrong + extra),
                **({"columns": ", ".join(wrong + extra)} if wrong or extra else {}),
            },
        )

    return check


def no_empty_text(table: str) -> Check:
    """A check that every kept row has a text that contains a letter or digit."""

    def check(warehouse: Warehouse, connection: DuckDBPyConnection, key: str) -> CheckOutcome:
        del warehouse
        rows = connection.execute(
            f"SELECT {tables()[table].keys[0]} FROM {table} WHERE crawl_partition = ? AND outcome = '{KEPT}' "  # noqa: S608
            r"AND (text IS NULL OR NOT regexp_matches(text, '[\p{L}\p{N}]'))",
            [key],
        ).fetchall()
        return _none_of(rows, "kept rows have no text")

    return check


def no_file_name_as_vecap(warehouse: Warehouse, connection: DuckDBPyConnection, key: str) -> CheckOutcome:
    """No VeCap is just a file name."""
    rows = connection.execute(
        f"SELECT sample_id, text FROM vecap WHERE crawl_partition = ? AND outcome = '{KEPT}'",  # noqa: S608
        [key],
    ).fetchall()
    return _none_of([row for row in rows if is_file_name(row[1] or "")], "captions are file names")


def probabilities_sum_to_one(warehouse: Warehouse, connection: DuckDBPyConnection, key: str) -> CheckOutcome:
    """Each kept sample of a set has one probability per text, and they sum to 1."""
    rows = connection.execute(
        "SELECT sample_id FROM training_sets WHERE recipe = ? AND outcome = 'kept' "
        "AND (abs(list_sum(probabilities) - 1) > 1e-6 OR len(probabilities) <> len(texts) OR len(texts) = 0)",
        [key],
    ).fetchall()
    return _none_of(rows, "samples have probabilities that do not sum to 1")


def scores_are_shares(warehouse: Warehouse, connection: DuckDBPyConnection, key: str) -> CheckOutcome:
    """Each score is between 0 and 1, and recall does not fall as k grows."""
    rows = connection.execute(
        "SELECT checkpoint_id FROM (SELECT *, lag(value) OVER (PARTITION BY checkpoint_id, benchmark, benchmark_sha256, code_version, "
        "split_part(metric, '@', 1) ORDER BY TRY_CAST(split_part(metric, '@', 2) AS INTEGER)) AS before FROM benchmark_scores "
        "WHERE recipe = ?) WHERE value NOT BETWEEN 0 AND 1 OR value < before",
        [key],
    ).fetchall()
    return _none_of(rows, "scores are outside 0 to 1, or fall as k grows")


def _balance(rows_in: int, rows_out: int, what: str) -> CheckOutcome:
    says = f"{rows_in} {what}, {rows_out} rows kept or rejected"
    return CheckOutcome(rows_in == rows_out, says, {"rows_in": rows_in, "rows_out": rows_out})


def _none_of(rows: list[tuple[object, ...]], what: str) -> CheckOutcome:
    shown = ", ".join(str(row[0]) for row in rows[:_SHOWN])
    return CheckOutcome(not rows, f"{len(rows)} {what}", {"rows": len(rows), **({"examples": shown} if rows else {})})


#: Checks that only one stage has, each with whether it blocks what is downstream.
_OWN: dict[str, dict[str, tuple[Check, bool]]] = {
    "raw_crawl": {_BALANCE: (rows_balance_raw_crawl, True)},
    "duplicates": {"groups_are_of_kept_samples": (groups_are_of_kept_samples, False)},
    "vecap": {"no_file_name_as_vecap": (no_file_name_as_vecap, True)},
    "training_sets": {
        _BALANCE: (rows_balance_training_sets, True),
        "probabilities_sum_to_one": (probabilities_sum_to_one, True),
    },
    "benchmark_scores": {"scores_are_shares": (scores_are_shares, True)},
}
#: Those of them that also look at what is not in the tables.
_OWN_BESIDE_TABLES: dict[str, dict[str, tuple[SettingsCheck, bool]]] = {
    "training_sets": {"no_benchmark_leak": (no_benchmark_leak, False)},
}
_PARTITIONS = {CRAWL_PARTITION: crawl_partitions, RECIPE: recipe_partitions, None: None}


def checks_of_stage(stage: Stage) -> dict[str, tuple[Check, bool]]:
    """A stage's checks by name: those that follow from its declaration, then its own."""
    found: dict[str, tuple[Check, bool]] = {}
    if stage.describes and stage.is_balanced:
        found[_BALANCE] = (one_row_for_each(stage), True)
    if stage.is_replaced:  # rows that are added to a table are checked against its columns at that moment
        schema = described(schema_is_as_declared(stage.name), "The table has the declared columns.")
        found["schema"] = (schema, True)
    if stage in caption_stages():
        found["no_empty_text"] = (described(no_empty_text(stage.name), "Every kept row has a text."), True)
        found["guard_rates_in_band"] = (described(guard_rates_in_band(stage.name), _IN_BAND), False)
    return found | _OWN.get(stage.name, {})


asset_checks: list[dg.AssetChecksDefinition] = [
    checks_of(stage.name, _PARTITIONS[stage.keyed_by], checks_of_stage(stage), _OWN_BESIDE_TABLES.get(stage.name, {}))
    for stage in STAGES.values()
    if stage.is_checked
]
