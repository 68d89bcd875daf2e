"""The checks of an audit that compare one record with another: Dagster, provenance, tables, takedowns and the pictures' bytes agree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from veclip_pipelines.audit.audited import Audited, Finding
from veclip_pipelines.crawl.rows import sample_id_of
from veclip_pipelines.media.pictures import PictureError, examine
from veclip_pipelines.media.shards import ByteRange, read_range
from veclip_pipelines.media.texts import clean_alt_text
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.stages import STAGES
from veclip_pipelines.tables.provenance import materialisations
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.standings import Standing
from veclip_pipelines.takedown.execution import unfinished
from veclip_pipelines.takedown.matches import find_matches
from veclip_pipelines.takedown.register import list_takedowns
from veclip_pipelines.takedown.table_rewrites import CONTENT, Hidden, files_with


@dataclass(frozen=True)
class Materialised:
    """What Dagster knows of a partition's newest materialisation.

    Attributes:
        partition: "all" for an asset without partitions. rows_kept: None where it does not say.
    """

    asset: str
    partition: str
    data_version: str
    rows_kept: int | None


def check_materialisations(about: Audited, told: Sequence[Materialised]) -> Iterator[Finding]:
    """Each partition's newest materialisation has the same data version and rows in Dagster and in the provenance, and the table
    holds the content of that version."""
    noted = {(one.asset, one.partition): one for one in materialisations(about.ask, newest="partition")}
    dagster = {(one.asset, one.partition): one for one in told}
    for key in sorted(noted.keys() | dagster.keys()):
        about.look()
        where, made, seen = "/".join(key), noted.get(key), dagster.get(key)
        if made is None:
            yield Finding("materialisations", where, "Dagster has a materialisation that the provenance lacks")
            continue
        if made.is_retirement:
            continue  # Dagster keeps the materialisations of a retired partition
        if seen is None:
            yield Finding("materialisations", where, "the provenance has a materialisation that Dagster lacks")
        elif seen.data_version != made.data_version:
            what = f"Dagster's data version is {seen.data_version}, the provenance's {made.data_version}"
            yield Finding("materialisations", where, what)
        elif seen.rows_kept not in (None, made.rows_kept):
            what = f"Dagster counts {seen.rows_kept} rows kept, the provenance {made.rows_kept}"
            yield Finding("materialisations", where, what)
        stage = STAGES.get(made.asset)
        # The output of an older version of the code has other columns, and is stale for that reason.
        if stage is not None and stage.code_version == made.code_version and (part := made.part) is not None:
            present, _ = about.contents.of(stage.table, part)
            if present != made.data_version:
                what = f"the table's content is {present}, and the newest materialisation noted {made.data_version}"
                yield Finding("materialisations", where, what)


def check_sample(about: Audited, count: int, seed: int) -> Iterator[Finding]:
    """Rows drawn from the whole crawl: picture, hashes, sample_id and clean AltText are recomputed from what the row points to."""
    rows = about.ask(
        f"SELECT * FROM raw_crawl WHERE outcome = '{KEPT}' ORDER BY hash(sample_id || $seed) LIMIT $count",  # noqa: S608
        seed=str(seed),
        count=count,
    )
    for row in rows:
        about.look()
        for what in _faults(row):
            yield Finding("sample", f"raw_crawl/{row['crawl_partition']}/{row['sample_id']}", what)


def _faults(row: dict[str, Any]) -> Iterator[str]:
    try:
        data = read_range(ByteRange(row["shard_uri"], row["image_offset"], row["image_length"]))
    except (PictureError, OSError) as error:
        yield f"its picture cannot be read from {row['shard_uri']}: {error}"
        return
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != row["image_sha256"]:
        yield f"the bytes it points to have SHA-256 {sha256}, the row has {row['image_sha256']}"
        return
    try:
        facts = examine(data)
    except PictureError as error:
        yield f"its picture is refused now: {error}"
    else:
        for name in ("phash", "width", "height", "media_type"):
            if (found := getattr(facts, name)) != row[name]:
                yield f"its {name} is {found} now, the row has {row[name]}"
    raw = row["alt_text_raw"] or ""
    if sample_id_of(row["url"], row["source_key"], raw, sha256) != row["sample_id"]:
        yield "its sample_id is not that of its URL, AltText and picture"
    if clean_alt_text(raw) != row["alt_text"]:
        yield "its AltText is not what cleaning makes of the raw one now"


def check_takedowns(about: Audited) -> Iterator[Finding]:
    """Each takedown is finished, no data file in use has a row of one, and no readable row is what one asks to remove."""
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
