"""Opt-outs that a crawl finds of pictures that an earlier crawl took in: by policy they are takedowns."""

from __future__ import annotations

from veclip_pipelines.crawl.policy import CrawlPolicy
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.register import Takedown, register
from veclip_pipelines.takedown.requests import Request

BY = "crawl.yaml: opt_outs_are_takedowns"
#: Days that earlier contents are kept where nobody says otherwise.
KEEP_DAYS = 7.0


def register_opt_outs(warehouse: Warehouse, policy: CrawlPolicy) -> list[Takedown]:
    """Writes down a takedown for each crawl partition that found an opt-out of a picture which is held since before."""
    if not policy.opt_outs_are_takedowns:
        return []
    rows = read_rows(
        warehouse,
        "SELECT o.crawl_partition, list(DISTINCT o.url ORDER BY o.url) AS urls, "
        "string_agg(DISTINCT o.detail, '; ' ORDER BY o.detail) AS details FROM raw_crawl o JOIN raw_crawl k ON k.url = o.url "
        "WHERE o.reason = 'opted_out' AND k.outcome = 'kept' AND coalesce(k.fetched_at < o.fetched_at, true) GROUP BY 1 ORDER BY 1",
        tables=["raw_crawl"],
    )
    found = []
    for row in rows:
        reason = f"opt-out found when {row['crawl_partition']} was crawled: {row['details']}"
        requests = [Request("url", url) for url in row["urls"]]
        found.append(register(warehouse, requests, by=BY, reason=reason, keep_days=KEEP_DAYS)[0])
    return found
