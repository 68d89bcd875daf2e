"""Whether the warehouse is what it says it is: each check reads tables and files, changes nothing, and names what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from veclip_pipelines.audit.audited import Audited, Finding
from veclip_pipelines.audit.file_checks import check_checkpoints, check_files, check_orphans, check_pins
from veclip_pipelines.audit.record_checks import Materialised, check_materialisations, check_sample, check_takedowns
from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.tables.warehouse import Warehouse

#: Tables whose rows a provenance row counts, with what tells their partitions apart.
_COUNTED = {
    "raw_crawl": ("crawl_partition", None),
    "concept_captions": ("crawl_partition", "engine_id"),
    "vecap": ("crawl_partition", "engine_id"),
}


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        checked: for each check, on how many things it looked.
    """

    findings: list[Finding]
    checked: dict[str, int]


#: What each check says, by its name.
CHECKS = {
    "counts": "rows in are rows kept and rejects",
    "captions": "every caption's picture or sample exists",
    "engines": "every engine is explained",
    "pins": "every training set's rows and pins are there",
    "checkpoints": "every checkpoint's weights are those that were noted",
    "scores": "every score's checkpoint exists",
    "files": "no data file is missing",
    "orphans": "nothing lies about that no table names",
    "takedowns": "what was taken down is nowhere",
    "materialisations": "Dagster, the provenance and the tables agree",
    "sample": "rows that were drawn are true to the bytes",
}


def audit(
    warehouse: Warehouse,
    tracking: Tracking | None,
    *,
    sample: int = 0,
    rebuild: bool = True,
    seed: int = 0,
    shards: str | None = None,
    materialised: Sequence[Materialised] | None = None,
) -> AuditReport:
    """Runs all checks.

    Args:
        tracking: where MLflow's runs are; without it checkpoints are not held against theirs.
        sample: rows that are drawn and followed to their picture's bytes.
        rebuild: whether each training set is made again, and compared.
        shards: where tars of our own are; without it none is looked for that no row points into.
        materialised: what Dagster knows; without it nothing is held against that.
    """
    about = Audited(warehouse, tracking)
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "counts": lambda: check_counts(about),
        "captions": lambda: check_captions(about),
        "engines": lambda: check_engines(about),
        "pins": lambda: check_pins(about, rebuild=rebuild),
        "checkpoints": lambda: check_checkpoints(about),
        "scores": lambda: check_scores(about),
        "files": lambda: check_files(about),
        "orphans": lambda: check_orphans(about, shards),
        "takedowns": lambda: check_takedowns(about),
    }
    if materialised is not None:
        checks["materialisations"] = lambda: check_materialisations(about, materialised)
    if sample:
        checks["sample"] = lambda: check_sample(about, sample, seed)
    findings, checked = [], {}
    for name, check in checks.items():
        before = about.looked_at
        findings += list(check())
        checked[name] = about.looked_at - before
    return AuditReport(findings, checked)


def check_counts(about: Audited) -> Iterator[Finding]:
    """The newest materialisation of each partition: its sum is right, and the table holds what it says, in the files that it names."""
    for row in _newest_materialisations(about):
        about.look()
        where = "/".join(str(part) for part in (row["asset"], row["partition"], row["engine"]) if part)
        if row["rows_in"] != row["rows_kept"] + row["rows_rejected"] and row["asset"] != "benchmark_scores":
            yield Finding(
                "counts",
                where,
                f"{row['rows_in']} rows in, {row['rows_kept']} kept and {row['rows_rejected']} rejected",
            )
        counted = about.counts.get((row["asset"], row["partition"], row["engine"] or ""))
        if row["asset"] in _COUNTED:
            kept, rejected = counted or (0, 0)
            if (kept, rejected) != (row["rows_kept"], row["rows_rejected"]):
                noted = f"the materialisation noted {row['rows_kept']} and {row['rows_rejected']}"
                yield Finding("counts", where, f"the table holds {kept} rows kept and {rejected} rejected; {noted}")


def _newest_materialisations(about: Audited) -> list[dict[str, Any]]:
    return about.ask(
        "SELECT asset, partition, rows_in, rows_kept, rows_rejected, "
        "CASE WHEN asset IN ('concept_captions', 'vecap') THEN json_extract_string(inputs, '$.engine') END AS engine FROM provenance "
        "QUALIFY row_number() OVER (PARTITION BY asset, partition, engine ORDER BY recorded_at DESC) = 1 ORDER BY ALL"
    )


def check_captions(about: Audited) -> Iterator[Finding]:
    """No caption without what it describes. Captions of a partition that was replaced since are stale, and said to be; those of an
    engine that another has followed since are kept for its return, and no newer set is made of them."""
    followed = _followed(about)
    for table, key in (("concept_captions", "image_sha256"), ("vecap", "sample_id")):
        about.look(sum(kept + rejected for (name, _, _), (kept, rejected) in about.counts.items() if name == table))
        rows = about.ask(
            f"SELECT crawl_partition, engine_id, count(*) AS n FROM {table} WHERE {key} NOT IN "  # noqa: S608
            f"(SELECT {key} FROM raw_crawl WHERE {key} IS NOT NULL) GROUP BY ALL ORDER BY ALL"
        )
        for row in rows:
            if (table, row["crawl_partition"], row["engine_id"]) in followed:
                continue
            where = f"{table}/{row['crawl_partition']}/{row['engine_id']}"
            yield Finding(
                "captions", where, f"{row['n']} rows are about what raw_crawl does not hold; is the partition stale?"
            )


def _followed(about: Audited) -> set[tuple[str, str, str]]:
    """Captions by table, partition and engine that are of an earlier raw_crawl, and whose engine is not the partition's newest."""
    newest = about.ask(
        "SELECT asset, partition, inputs, data_version, json_extract_string(inputs, '$.engine') AS engine, "
        "first_value(engine) OVER (PARTITION BY asset, partition ORDER BY recorded_at DESC) AS last_engine FROM provenance "
        "WHERE asset IN ('raw_crawl', 'concept_captions', 'vecap') "
        "QUALIFY row_number() OVER (PARTITION BY asset, partition, engine ORDER BY recorded_at DESC) = 1"
    )
    present = {row["partition"]: row["data_version"] for row in newest if row["asset"] == "raw_crawl"}
    return {
        (row["asset"], row["partition"], row["engine"])
        for row in newest
        if row["engine"] != row["last_engine"]
        and json.loads(row["inputs"]).get(f"raw_crawl/{row['partition']}") != present.get(row["partition"])
    }


def check_engines(about: Audited) -> Iterator[Finding]:
    """Each engine_id that a row names has a row in engines."""
    for table, column in (("concept_captions", "engine_id"), ("vecap", "engine_id"), ("vecap", "concept_engine_id")):
        rows = about.ask(
            f"SELECT {column} AS engine, count(*) AS n FROM {table} WHERE {column} IS NOT NULL GROUP BY 1"  # noqa: S608
        )
        known = {row["engine_id"] for row in about.ask("SELECT engine_id FROM engines")}
        for row in rows:
            about.look()
            if row["engine"] not in known:
                yield Finding(
                    "engines", f"{table}.{column}", f"{row['n']} rows name engine {row['engine']}, which engines lacks"
                )


def check_scores(about: Audited) -> Iterator[Finding]:
    """Each score is of a checkpoint that the tables know."""
    rows = about.ask(
        "SELECT s.checkpoint_id, s.recipe, count(*) AS n, bool_or(c.checkpoint_id IS NOT NULL) AS known FROM benchmark_scores s "
        "LEFT JOIN checkpoints c USING (checkpoint_id) GROUP BY ALL ORDER BY ALL"
    )
    for row in rows:
        about.look(row["n"])
        if not row["known"]:
            yield Finding(
                "scores",
                row["recipe"],
                f"{row['n']} scores of checkpoint {row['checkpoint_id']}, which checkpoints lacks",
            )
