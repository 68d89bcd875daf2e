"""The register of takedowns. Once one's tombstones are written, no reader, export or training set sees what it removes.

Opt-outs that a crawl finds of pictures that an earlier crawl took in are takedowns too, where the crawl policy says so.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from veclip_pipelines.crawl.policy import CrawlPolicy
from veclip_pipelines.errors import CommitConflictError, UsageError
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.schemas.takedown_schemas import TAKEDOWNS, TOMBSTONES
from veclip_pipelines.tables.commit import append_new, partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.query import TAKEN_DOWN, read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.matches import Match, find_matches, near_requests
from veclip_pipelines.takedown.requests import KEEP_DAYS, Request, takedown_id_of

_TRIES = 5


@dataclass(frozen=True)
class Takedown:
    """A takedown as it was written down.

    Attributes:
        erase_after: until when earlier contents of the tables are kept, hidden.
        distance: of near copies of what it names, None where only these are meant.
    """

    takedown_id: str
    requests: tuple[Request, ...]
    requested_by: str
    reason: str
    requested_at: datetime
    erase_after: datetime


def register(
    warehouse: Warehouse,
    requests: Sequence[Request],
    *,
    distance: int | None = None,
    by: str,
    reason: str,
    keep_days: float,
) -> tuple[Takedown, list[Match]]:
    """Records the requests and the rows that they mean: these are hidden when it returns.

    Called again with the same requests, it adds what was missed and leaves who, when and why as they were.

    Args:
        distance: take out near copies of what is found, too. keep_days: days that earlier contents of the tables are kept.
    """
    if not reason.strip():
        raise UsageError("a takedown is written down with its reason")
    takedown_id = takedown_id_of([*requests, *([Request("near", "", distance)] if distance is not None else [])])
    now = datetime.now(UTC)
    common: dict[str, object] = {
        "takedown_id": takedown_id,
        "requested_by": by,
        "reason": reason,
        "requested_at": now,
        "erase_after": now + timedelta(days=keep_days),
    }
    known = find_takedown(warehouse, takedown_id)
    if known is not None:
        common |= {name: getattr(known, name) for name in ("requested_by", "reason", "requested_at", "erase_after")}
    # First the rules, so that nothing new comes in, then what has come in so far.
    _write_requests(warehouse, requests, common)
    matches = find_matches(warehouse, requests, distance)
    if distance is not None:
        _write_requests(warehouse, near_requests(matches, distance), common)
    merge_rows(warehouse, TOMBSTONES, takedown_id, [_tombstone(match) for match in matches])
    takedown = find_takedown(warehouse, takedown_id)
    assert takedown is not None
    return takedown, matches


def refresh(warehouse: Warehouse, takedown: Takedown) -> int:
    """Adds tombstones for rows that its requests mean and that have none yet; returns how many it has then.

    Also for those that a later crawl brought and that were kept out: their bytes are to be erased, too.
    """
    rows = [_tombstone(match) for match in find_matches(warehouse, takedown.requests)]
    rows += kept_out(warehouse, takedown.takedown_id)
    return len(merge_rows(warehouse, TOMBSTONES, takedown.takedown_id, rows))


def kept_out(warehouse: Warehouse, takedown_id: str | None = None) -> list[dict[str, Any]]:
    """Tombstones for entries that came again, were kept out by a takedown, and have none yet."""
    rows = read_rows(
        warehouse,
        "SELECT r.sample_id, r.image_sha256, r.crawl_partition, r.source_key, r.source_uri, r.shard_uri, r.image_offset, "
        "r.image_length FROM raw_crawl r ANTI JOIN tombstones t ON t.sample_id = r.sample_id AND t.crawl_partition = r.crawl_partition "
        "AND t.source_uri IS NOT DISTINCT FROM r.source_uri WHERE r.reason = $reason AND ($id IS NULL OR r.detail = 'takedown ' || $id) "
        "ORDER BY ALL",
        {"reason": TAKEN_DOWN, "id": takedown_id},
        tables=["raw_crawl", "tombstones"],
    )
    return [
        {**row, "phash": None, "uid": row["source_key"], "matched_by": "kept_out", "distance": 0, "texts": []}
        for row in rows
    ]


def find_takedown(warehouse: Warehouse, takedown_id: str) -> Takedown | None:
    """The takedown whose id begins with this, or None. Raises UsageError where several do."""
    found = [one for one in list_takedowns(warehouse) if one.takedown_id.startswith(takedown_id)]
    if len(found) > 1:
        raise UsageError(f"several takedowns begin with {takedown_id!r}: {', '.join(one.takedown_id for one in found)}")
    return found[0] if found else None


def list_takedowns(warehouse: Warehouse) -> list[Takedown]:
    """All takedowns, the oldest first."""
    rows = read_rows(warehouse, "SELECT * FROM takedowns ORDER BY requested_at, kind, value", tables=["takedowns"])
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["takedown_id"], []).append(row)
    return [
        Takedown(
            takedown_id,
            tuple(Request(row["kind"], row["value"], row["distance"]) for row in group),
            group[0]["requested_by"],
            group[0]["reason"],
            group[0]["requested_at"],
            group[0]["erase_after"],
        )
        for takedown_id, group in grouped.items()
    ]


def tombstones(warehouse: Warehouse, takedown_id: str) -> list[dict[str, Any]]:
    """The rows that a takedown takes out."""
    return read_rows(
        warehouse,
        "SELECT * FROM tombstones WHERE takedown_id = ? ORDER BY sample_id, crawl_partition, source_uri, shard_uri",
        [takedown_id],
        tables=["tombstones"],
    )


def merge_rows(
    warehouse: Warehouse, spec: TableSpec, takedown_id: str, rows: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Adds rows to a takedown's part of a table in one commit, replacing those with the same key; returns all that it has then."""
    partition = {"takedown_id": takedown_id}
    new = {_key(spec, row): dict(row) for row in rows}

    def merge() -> list[dict[str, Any]]:
        expected = partition_files(warehouse.open(spec), partition)
        held = read_rows(
            warehouse,
            f"SELECT * EXCLUDE (takedown_id) FROM {spec.name} WHERE takedown_id = ?",  # noqa: S608
            [takedown_id],
            tables=[spec.name],
        )
        merged = {_key(spec, row): row for row in held} | new
        result = [merged[key] for key in sorted(merged, key=str)]
        if result == sorted(held, key=lambda row: str(_key(spec, row))) and held:
            return result
        table = table_of(spec, [dict(row) for row in result])
        digest = hashlib.sha256(json.dumps(result, default=str).encode()).hexdigest()[:12]
        file = write_file(warehouse, spec, partition, f"{digest}-{uuid.uuid4().hex[:6]}", table)
        replace_partition(warehouse, spec, partition, [file], expected=expected, properties=partition)
        return result

    # Who lost to another writer merges with what that one wrote.
    conflict = retry_if_exception_type(CommitConflictError)
    return Retrying(retry=conflict, stop=stop_after_attempt(_TRIES), reraise=True)(merge)


def _key(spec: TableSpec, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in spec.keys)


def _write_requests(warehouse: Warehouse, requests: Sequence[Request], common: Mapping[str, object]) -> None:
    rows = [{**common, "kind": one.kind, "value": one.value, "distance": one.distance} for one in requests]
    append_new(warehouse, TAKEDOWNS, rows, properties={"takedown_id": str(common["takedown_id"])})


def _tombstone(match: Match) -> dict[str, Any]:
    names = [name for name in TOMBSTONES.file_schema.names if name in match.row]
    return {
        **{name: match.row[name] for name in names},
        "matched_by": match.matched_by,
        "distance": match.distance,
        "texts": list(match.texts),
    }


BY = "crawl.yaml: opt_outs_are_takedowns"


def register_opt_outs(warehouse: Warehouse, policy: CrawlPolicy) -> list[Takedown]:
    """Registers a takedown for each crawl partition that found an opt-out of a picture which was taken in earlier."""
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
