"""What a takedown does once its tombstones hide what it removes. Killed at any point, it is finished by running it again."""

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
from veclip_pipelines.takedown.consequences import note_taints
from veclip_pipelines.takedown.copies import clean_export, drop_plans, drop_trainings
from veclip_pipelines.takedown.provenance_edits import Noted, Notes
from veclip_pipelines.takedown.register import Takedown, find_takedown, list_takedowns, merge_rows, refresh, tombstones
from veclip_pipelines.takedown.table_rewrites import CONTENT, Hidden, Rewritten, files_with, rewrite_pins, rewrite_table

FINISHED = "finished"


@dataclass
class Execution:
    """A takedown that is being carried out, and the record of it."""

    warehouse: Warehouse
    settings: Settings
    tracking: Tracking | None
    takedown: Takedown
    run_id: str
    now: datetime
    marks: list[dict[str, Any]] = field(default_factory=list)

    def announce(self, *rows: Mapping[str, Any]) -> None:
        """Writes down what is about to be done. After a kill in between, the rerun finds less to do: that does not lower any count."""
        known = {(row["step"], row["place"]): row for row in self.written()}
        news = []
        for row in rows:
            before = known.get((row["step"], row["place"]), {"state": "", "count": 0})
            if row["state"] != before["state"] or row["count"] > before["count"]:
                news.append({**row, "count": max(row["count"], before["count"])})
        self.write_all(news)

    def written(self) -> list[dict[str, Any]]:
        """All rows of the takedown's record."""
        sql = "SELECT * FROM erasures WHERE takedown_id = ?"
        return read_rows(self.warehouse, sql, [self.takedown.takedown_id], tables=["erasures"])

    def write_all(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Records what was done, in one commit."""
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
        The partitions of assets that have changed.

    Raises:
        UsageError: there is no such takedown.
        CommitConflictError: a run changes the same partitions; what was not done is done by carrying it out again.
    """
    takedown = find_takedown(warehouse, takedown_id)
    if takedown is None:
        raise UsageError(f"there is no takedown {takedown_id!r}: veclip takedown list")
    execution = Execution(warehouse, settings, tracking, takedown, run_id, now or datetime.now(UTC))
    refresh(warehouse, takedown)
    execution.marks = tombstones(warehouse, takedown.takedown_id)
    hidden = Hidden.of(takedown.takedown_id, execution.marks)
    # First, as afterwards the training sets no longer know that they had the samples.
    execution.write_all(note_taints(warehouse, takedown.takedown_id, hidden, tracking))
    rewritten: list[Rewritten] = []
    places, announce = _held(execution), partial(_rows_of_tables, execution)
    for spec in CONTENT:
        held = {place.removeprefix(f"{spec.name}/") for place in places}
        rewritten += rewrite_table(warehouse, spec, hidden, held=held, run_id=run_id, announce=announce)
    sets = rewrite_pins(warehouse, rewritten, hidden, run_id=run_id)
    execution.write_all(
        {
            "step": "pins",
            "place": f"{row['recipe']}@{row['set_version']}",
            "state": "removed",
            "what": "pins files without them",
            "count": 0,
        }
        for row in sets
    )
    keys = {row["crawl_partition"] for row in execution.marks}
    notes = Notes(warehouse, takedown.takedown_id, run_id)
    noted = notes.crawl_partitions(keys)
    noted += notes.training_sets(_sets(execution))
    noted += notes.duplicates()
    _elsewhere(execution, hidden)
    _erase_bytes(execution)
    _earlier_files(execution, hidden)
    return noted


def unfinished(warehouse: Warehouse, now: datetime | None = None) -> list[Takedown]:
    """Takedowns with something left to do: killed ones, those whose time has come, and those for which a crawl brought more."""
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


def _held(execution: Execution) -> dict[str, int]:
    """Earlier contents that are kept until a stated time, and their rows, by place."""
    return {
        row["place"]: row["count"]
        for row in execution.written()
        if row["step"] == "old_file" and row["state"] == "held"
    }


def _rows_of_tables(execution: Execution, places: Mapping[str, int]) -> None:
    """Announces the rows that are taken out of each place."""
    what = {"step": "table", "state": "removed", "what": "rows taken out"}
    execution.announce(*({**what, "place": place, "count": rows} for place, rows in places.items() if rows))


def _sets(execution: Execution) -> list[tuple[str, str]]:
    """Training sets that the takedown took samples out of, in this run or before, by recipe and version."""
    rows = read_rows(
        execution.warehouse,
        "SELECT recipe, set_version FROM set_pins WHERE list_contains(takedowns, ?)",
        [execution.takedown.takedown_id],
        tables=["set_pins"],
    )
    return [(row["recipe"], row["set_version"]) for row in rows]


def _elsewhere(execution: Execution, hidden: Hidden) -> None:
    """Exports, states of unfinished trainings, plans and lists of runs that were killed."""
    for row in read_rows(
        execution.warehouse, "SELECT DISTINCT format, uri FROM exports ORDER BY uri", tables=["exports"]
    ):
        clean_export(row["format"], row["uri"], execution.marks, execution.announce)
    drop_trainings(execution.settings.checkpoints, hidden, execution.announce)
    drop_plans(execution.warehouse, hidden, execution.announce)
    for key in sorted({row["crawl_partition"] for row in execution.marks}):
        lists = f"{execution.settings.shards.rstrip('/')}/{key}/lists"
        if is_there(lists):
            what = "lists of a run that was killed"
            execution.announce({"step": "plan", "place": lists, "state": "removed", "what": what, "count": 0})
            remove(lists)


def _erase_bytes(execution: Execution) -> None:
    drops = {drop.crawl_partition: drop for drop in list_drops(execution.warehouse, retired=True)}
    places = []
    for row in execution.marks:
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
    execution.write_all(
        {"step": one.step, "place": one.uri, "state": one.state, "what": one.what, "count": one.count}
        for one in erase(places, crawl_policy(execution.settings).may_change)
    )


def _earlier_files(execution: Execution, hidden: Hidden) -> None:
    """Files of earlier contents: kept until the stated time, then removed. Done last, as it records that all else is done."""
    found = {
        f"{spec.name}/{file.path}": (execution.warehouse.path(spec, file.path), rows)
        for spec in CONTENT
        for file, rows in files_with(execution.warehouse, spec, hidden)
    }
    until = execution.takedown.erase_after
    common = {"step": "old_file", "state": "held", "what": "earlier content, hidden from all readers", "until": until}
    execution.write_all({**common, "place": place, "count": rows} for place, (_, rows) in found.items())
    if execution.now >= until:
        for path, _ in found.values():
            execution.warehouse.filesystem.delete_file(path)
        # Also those that an earlier run removed before it was killed and could record so.
        gone = {**common, "state": "removed", "what": "earlier content, removed", "until": None}
        execution.write_all({**gone, "place": place, "count": rows} for place, rows in _held(execution).items())
    what = "all that can be done now"
    execution.write_all(
        [{"step": FINISHED, "place": "all", "state": "removed", "what": what, "count": len(execution.marks)}]
    )
