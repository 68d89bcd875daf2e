"""All that a takedown does after its tombstones hide what it takes out. Killed at any point, it is finished by doing it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import list_drops
from veclip_pipelines.crawl.erasing import Place, erase
from veclip_pipelines.crawl.policy import crawl_policy
from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.storage import is_there, remove
from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.schemas.takedown_schemas import ERASURES
from veclip_pipelines.tables.query import TAKEN_DOWN, read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.copies import clean_export, drop_plans, drop_trainings
from veclip_pipelines.takedown.provenance_edits import Noted, Notes
from veclip_pipelines.takedown.register import Takedown, find_takedown, list_takedowns, merge_rows, refresh, tombstones
from veclip_pipelines.takedown.table_rewrites import CONTENT, Hidden, Rewritten, files_with, rewrite_pins, rewrite_table
from veclip_pipelines.takedown.taints import note_taints

FINISHED = "finished"


@dataclass
class Work:
    """A takedown that is being carried out, and what has been written down of it."""

    warehouse: Warehouse
    settings: Settings
    tracking: Tracking | None
    takedown: Takedown
    run_id: str
    now: datetime
    marks: list[dict[str, Any]] = field(default_factory=list)

    def announce(self, *rows: Mapping[str, Any]) -> None:
        """Writes down what is about to be done. Killed in between, the rerun finds less to do: no count becomes less by it."""
        known = {(row["step"], row["place"]): row for row in self.written()}
        news = []
        for row in rows:
            before = known.get((row["step"], row["place"]), {"state": "", "count": 0})
            if row["state"] != before["state"] or row["count"] > before["count"]:
                news.append({**row, "count": max(row["count"], before["count"])})
        self.write_all(news)

    def written(self) -> list[dict[str, Any]]:
        """All that is written down of the takedown."""
        sql = "SELECT * FROM erasures WHERE takedown_id = ?"
        return read_rows(self.warehouse, sql, [self.takedown.takedown_id], tables=["erasures"])

    def write_all(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes down what was done, in one commit."""
        common = {"until": None, "done_at": self.now, "run_id": self.run_id}
        if found := [{**common, **row} for row in rows]:
            merge_rows(self.warehouse, ERASURES, self.takedown.takedown_id, found)


def carry_out(
    warehouse: Warehouse,
    settings: Settings,
    takedown_id: str,
    *,
    tracking: Tracking | None,
    run_id: str,
    now: datetime | None = None,
) -> list[Noted]:
    """Takes what a takedown hides out of the tables, shards, exports and states of training, and marks what was trained on it.

    Returns:
        The partitions of assets that are others since.

    Raises:
        UsageError: there is no such takedown.
        CommitConflictError: a run changes the same partitions; what was not done is done by carrying it out again.
    """
    takedown = find_takedown(warehouse, takedown_id)
    if takedown is None:
        raise UsageError(f"there is no takedown {takedown_id!r}: veclip takedown list")
    work = Work(warehouse, settings, tracking, takedown, run_id, now or datetime.now(UTC))
    refresh(warehouse, takedown)
    work.marks = tombstones(warehouse, takedown.takedown_id)
    hidden = Hidden.of(takedown.takedown_id, work.marks)
    # First, as the training sets do not know afterwards that they had the samples.
    work.write_all(note_taints(warehouse, takedown.takedown_id, hidden, tracking))
    rewritten: list[Rewritten] = []
    places, announce = _held(work), partial(_rows_of_tables, work)
    for spec in CONTENT:
        held = {place.removeprefix(f"{spec.name}/") for place in places}
        rewritten += rewrite_table(warehouse, spec, hidden, held=held, run_id=run_id, announce=announce)
    sets = rewrite_pins(warehouse, rewritten, hidden, run_id=run_id)
    work.write_all(
        {
            "step": "pins",
            "place": f"{row['recipe']}@{row['set_version']}",
            "state": "removed",
            "what": "pins files without them",
            "count": 0,
        }
        for row in sets
    )
    keys = {row["crawl_partition"] for row in work.marks}
    notes = Notes(warehouse, takedown.takedown_id, run_id)
    noted = notes.crawl_partitions(keys)
    noted += notes.training_sets(_sets(work))
    noted += notes.duplicates()
    _elsewhere(work, hidden)
    _erase_bytes(work)
    _earlier_files(work, hidden)
    return noted


def unfinished(warehouse: Warehouse, now: datetime | None = None) -> list[Takedown]:
    """Takedowns that something is left to do for: killed ones, those whose time has come, and those of which a crawl brought more."""
    done = {
        row["takedown_id"]: row["held"]
        for row in read_rows(
            warehouse,
            "SELECT takedown_id, min(until) FILTER (state = 'held') AS held FROM erasures GROUP BY 1 "
            "HAVING bool_or(step = 'finished')",
            tables=["erasures"],
        )
    }
    again = read_rows(
        warehouse,
        "SELECT DISTINCT r.detail FROM raw_crawl r ANTI JOIN tombstones t ON t.sample_id = r.sample_id "
        "AND t.crawl_partition = r.crawl_partition AND t.source_uri IS NOT DISTINCT FROM r.source_uri WHERE r.reason = ?",
        [TAKEN_DOWN],
        tables=["raw_crawl", "tombstones"],
    )
    open_ = {str(row["detail"]).removeprefix("takedown ") for row in again}
    moment = now or datetime.now(UTC)

    def is_open(one: Takedown) -> bool:
        held = done.get(one.takedown_id)
        return one.takedown_id not in done or one.takedown_id in open_ or (held is not None and held <= moment)

    return [one for one in list_takedowns(warehouse) if is_open(one)]


def _held(work: Work) -> dict[str, int]:
    """Earlier contents that are kept until a time, and their rows, by place."""
    return {
        row["place"]: row["count"] for row in work.written() if row["step"] == "old_file" and row["state"] == "held"
    }


def _rows_of_tables(work: Work, places: Mapping[str, int]) -> None:
    """Announces the rows that are taken out of each place."""
    what = {"step": "table", "state": "removed", "what": "rows taken out"}
    work.announce(*({**what, "place": place, "count": rows} for place, rows in places.items() if rows))


def _sets(work: Work) -> list[tuple[str, str]]:
    """Training sets that the takedown took samples out of, in this run or before, by recipe and version."""
    rows = read_rows(
        work.warehouse,
        "SELECT recipe, set_version FROM set_pins WHERE list_contains(takedowns, ?)",
        [work.takedown.takedown_id],
        tables=["set_pins"],
    )
    return [(row["recipe"], row["set_version"]) for row in rows]


def _elsewhere(work: Work, hidden: Hidden) -> None:
    """Exports, states of trainings that are not ended, plans and lists of runs that were killed."""
    for row in read_rows(work.warehouse, "SELECT DISTINCT format, uri FROM exports ORDER BY uri", tables=["exports"]):
        clean_export(row["format"], row["uri"], work.marks, work.announce)
    drop_trainings(work.settings.checkpoints, hidden, work.announce)
    drop_plans(work.warehouse, hidden, work.announce)
    for key in sorted({row["crawl_partition"] for row in work.marks}):
        lists = f"{work.settings.shards.rstrip('/')}/{key}/lists"
        if is_there(lists):
            what = "lists of a run that was killed"
            work.announce({"step": "plan", "place": lists, "state": "removed", "what": what, "count": 0})
            remove(lists)


def _erase_bytes(work: Work) -> None:
    drops = {drop.crawl_partition: drop for drop in list_drops(work.warehouse, retired=True)}
    places = []
    for row in work.marks:
        drop = drops.get(row["crawl_partition"])
        inside = drop is not None and str(row["source_uri"]).startswith(f"{drop.uri.rstrip('/')}/")
        places.append(
            Place(
                image_sha256=row["image_sha256"],
                source_key=row["source_key"],
                source_uri=row["source_uri"] or "",
                drop_uri=drop.uri if drop is not None and inside else "",
                drop_format=drop.format if drop is not None and inside else "",
                shard_uri=row["shard_uri"],
                offset=row["image_offset"] or 0,
                length=row["image_length"] or 0,
            )
        )
    work.write_all(
        {"step": one.step, "place": one.uri, "state": one.state, "what": one.what, "count": one.count}
        for one in erase(places, crawl_policy(work.settings).may_change)
    )


def _earlier_files(work: Work, hidden: Hidden) -> None:
    """Files of earlier contents: kept until the stated time, then removed. Last, as it says that all else is done."""
    found = {
        f"{spec.name}/{file.path}": (work.warehouse.path(spec, file.path), rows)
        for spec in CONTENT
        for file, rows in files_with(work.warehouse, spec, hidden)
    }
    until = work.takedown.erase_after
    common = {"step": "old_file", "state": "held", "what": "earlier content, hidden from all readers", "until": until}
    work.write_all({**common, "place": place, "count": rows} for place, (_, rows) in found.items())
    if work.now >= until:
        for path, _ in found.values():
            work.warehouse.filesystem.delete_file(path)
        # Also those that an earlier run removed, and was killed before it could say so.
        gone = {**common, "state": "removed", "what": "earlier content, removed", "until": None}
        work.write_all({**gone, "place": place, "count": rows} for place, rows in _held(work).items())
    what = "all that can be done now"
    work.write_all([{"step": FINISHED, "place": "all", "state": "removed", "what": what, "count": len(work.marks)}])
