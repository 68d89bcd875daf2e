"""The check of an audit that what was taken down is nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from veclip_pipelines.audit.audited import Audited, Finding
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.standings import Standing
from veclip_pipelines.takedown.execution import unfinished
from veclip_pipelines.takedown.matches import find_matches
from veclip_pipelines.takedown.register import list_takedowns
from veclip_pipelines.takedown.table_rewrites import CONTENT, Hidden, files_with


def check_takedowns(about: Audited) -> Iterator[Finding]:
    """Each takedown is finished, no data file in use has a row of one, and no row that may be read is what one asks for."""
    takedowns = list_takedowns(about.warehouse)
    if not takedowns:
        return
    for one in unfinished(about.warehouse):
        yield Finding("takedowns", one.takedown_id, "it is not finished: veclip takedown finish")
    marks = read_rows(about.warehouse, "SELECT sample_id, image_sha256 FROM tombstones", tables=["tombstones"])
    hidden = Hidden.of("", marks)
    due = {one.takedown_id: one.erase_after for one in takedowns}
    for spec in CONTENT:
        for file, rows in files_with(about.warehouse, spec, hidden):
            about.look()
            in_use = file.standings & {Standing.CURRENT, Standing.PINNED}
            if in_use:
                what = f"{rows} rows that were taken down are hidden and still there"
                yield Finding("takedowns", f"{spec.name}/{file.path}", what)
            elif max(due.values()) <= datetime.now(UTC):
                what = f"an earlier content with {rows} rows that were taken down, whose time has passed"
                yield Finding("takedowns", f"{spec.name}/{file.path}", what)
    known = {row["sample_id"] for row in marks}
    for one in takedowns:
        about.look()
        missed = {match.row["sample_id"] for match in find_matches(about.warehouse, one.requests)} - known
        if missed:
            what = f"{len(missed)} samples are what it asks for and are not taken out, such as {min(missed)}"
            yield Finding("takedowns", one.takedown_id, what)
