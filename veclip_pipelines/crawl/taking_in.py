"""A materialisation of a crawl partition: its drop is ingested, or its rejects are tried again, or it stays as pinned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.crawl.index import Crawl, index_drop
from veclip_pipelines.crawl.retry import retry_rejects
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.tables.provenance import latest
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

_SHOWN = 12


@dataclass(frozen=True)
class TakenIn:
    """The result of a materialisation.

    Attributes:
        entries: number of entries in the drop when it was last ingested.
        changed: whether the partition's rows are different now.
        figures: further figures, by name.
    """

    entries: int
    changed: bool
    figures: Mapping[str, int]


def take_in(crawl: Crawl, retry_reasons: Sequence[str], runner: Runner, *, properties: Mapping[str, str]) -> TakenIn:
    """Indexes a drop; if reasons are given, only tries again the rows that were rejected for one of them.

    Raises:
        UsageError: no row was rejected for one of the reasons, or another try cannot change the reason.
    """
    if retry_reasons:
        entries = _entries_before(crawl.warehouse, crawl.crawl_partition)
        retried = retry_rejects(crawl, retry_reasons, runner, properties=properties)
        return TakenIn(entries, retried.changed, {"rows_tried_again": retried.tried, "rows_kept_by_it": retried.kept})
    result = index_drop(crawl, runner, properties=properties)
    figures = {"shards_read": result.shards_read, "shards_found_finished": result.shards_found}
    return TakenIn(result.entries, result.changed, figures)


def stay_pinned(warehouse: Warehouse, crawl_partition: str) -> TakenIn:
    """For a partition that was rolled back: its folder may hold something else by now, which a materialisation must not ingest."""
    return TakenIn(_entries_before(warehouse, crawl_partition), False, {"pinned": True})


def kept_by_flag(warehouse: Warehouse, crawl_partition: str) -> dict[str, int]:
    """Kept rows by flag, the most frequent first; a row with two flags counts for both."""
    return _kept_by(warehouse, crawl_partition, "unnest(flags)")


def kept_by_language(warehouse: Warehouse, crawl_partition: str) -> dict[str, int]:
    """Kept rows by language, the most frequent first."""
    return _kept_by(warehouse, crawl_partition, "language")


def _kept_by(warehouse: Warehouse, crawl_partition: str, what: str) -> dict[str, int]:
    rows = read_rows(
        warehouse,
        f"SELECT value, count(*) AS n FROM (SELECT {what} AS value FROM raw_crawl WHERE crawl_partition = ? AND outcome = 'kept') "  # noqa: S608
        f"WHERE value IS NOT NULL GROUP BY value ORDER BY n DESC, value LIMIT {_SHOWN}",
        [crawl_partition],
        tables=["raw_crawl"],
    )
    return {str(row["value"]): int(row["n"]) for row in rows}


def _entries_before(warehouse: Warehouse, crawl_partition: str) -> int:
    before = latest(warehouse, RAW_CRAWL.name, crawl_partition)
    return before.rows_in if before else 0
