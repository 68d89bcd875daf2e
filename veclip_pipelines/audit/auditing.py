"""Whether the warehouse is what it says it is: each check reads tables and files, changes nothing, and names what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from veclip_pipelines.audit.audited import Audited, Finding
from veclip_pipelines.audit.file_checks import check_checkpoints, check_files, check_orphans, check_pins
from veclip_pipelines.audit.record_checks import Materialised, check_materialisations, check_sample, check_takedowns
from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.stages import CRAWL_PARTITION, RAW_CRAWL, STAGES, caption_stages
from veclip_pipelines.tables.provenance import Provenance, materialisations
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        checked: for each check, how many things it looked at.
    """

    findings: list[Finding]
    checked: dict[str, int]


#: What each check asserts, by its name.
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
        tracking: where MLflow's runs are; without it checkpoints are not compared with them.
        sample: number of rows that are drawn at random and traced to their picture's bytes.
        rebuild: whether each training set is made again, and compared.
        shards: where our own tars are; without it no search is made for tars that no row points into.
        materialised: what Dagster knows; without it nothing is compared with that.
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
    for one in _newest_materialisations(about):
        about.look()
        stage = STAGES.get(one.asset)
        where = "/".join(filter(None, (one.asset, one.partition, one.engine)))
        if one.rows_in != one.rows_kept + one.rows_rejected and (stage is None or stage.is_balanced):
            yield Finding(
                "counts",
                where,
                f"{one.rows_in} rows in, {one.rows_kept} kept and {one.rows_rejected} rejected",
            )
        if stage is not None and stage.keyed_by == CRAWL_PARTITION:
            kept, rejected = about.counts.get((one.asset, one.partition, one.engine), (0, 0))
            if (kept, rejected) != (one.rows_kept, one.rows_rejected):
                noted = f"the materialisation noted {one.rows_kept} and {one.rows_rejected}"
                yield Finding("counts", where, f"the table holds {kept} rows kept and {rejected} rejected; {noted}")


def _newest_materialisations(about: Audited) -> list[Provenance]:
    """Of each partition, and of each engine's captions of it, by name."""
    newest: dict[tuple[str, str, str], Provenance] = {}
    for one in materialisations(about.ask, newest="engine"):
        newest.setdefault((one.asset, one.partition, one.engine), one)
    return [newest[key] for key in sorted(newest)]


def check_captions(about: Audited) -> Iterator[Finding]:
    """No caption without what it describes. Captions of a partition that has been replaced are stale, and shown as such; those of an
    engine that has been succeeded by another are kept for its return, and no newer set uses them."""
    followed = _followed(about)
    for stage in caption_stages():
        table, key = stage.name, stage.describes
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
    stages = (RAW_CRAWL, *caption_stages())
    newest = materialisations(about.ask, assets=[stage.name for stage in stages], newest="engine")
    last: dict[tuple[str, str], Provenance] = {}
    for one in newest:
        last.setdefault((one.asset, one.partition), one)
    return {
        (one.asset, one.partition, one.engine)
        for one in newest
        if one.engine != last[one.asset, one.partition].engine
        and one.inputs.get(f"raw_crawl/{one.partition}") != _version_of(last.get((RAW_CRAWL.name, one.partition)))
    }


def _version_of(made: Provenance | None) -> str | None:
    return None if made is None else made.data_version


def check_engines(about: Audited) -> Iterator[Finding]:
    """Each engine_id that a row names has a row in engines."""
    known = {row["engine_id"] for row in about.ask("SELECT engine_id FROM engines")}
    for table, column in [(stage.name, column) for stage in caption_stages() for column in stage.engine_columns]:
        rows = about.ask(
            f"SELECT {column} AS engine, count(*) AS n FROM {table} WHERE {column} IS NOT NULL GROUP BY 1"  # noqa: S608
        )
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
