"""Crawl drops: a folder of shards, tables or archives as it arrived. One drop becomes one crawl partition."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from veclip_pipelines.crawl.formats.listing import Listing, list_folder
from veclip_pipelines.crawl.formats.registry import detect_format
from veclip_pipelines.errors import UsageError
from veclip_pipelines.schemas.crawl_schemas import CRAWL_DROPS
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse, check_partition_key

State = Literal["active", "pinned", "retired"]


@dataclass(frozen=True)
class Drop:
    """What was found in a folder.

    Attributes:
        uri: the folder, absolute.
        format: name of its format.
        sources: its source files (or folders), relative to the folder, sorted.
        fingerprint: hash over names, sizes and modification times of all its files: changes if the drop grows or is replaced.
        entries: number of entries according to the drop's own record, None if it keeps none.
        label: the data set that its columns indicate, or "".
    """

    uri: str
    format: str
    sources: tuple[str, ...]
    fingerprint: str
    entries: int | None
    label: str = ""


@dataclass(frozen=True)
class RegisteredDrop:
    """The current drop of a crawl partition, as it was recorded.

    A pinned drop is one that was rolled back to: what its folder holds now does not replace it. A retired one is no longer used.
    """

    crawl_partition: str
    uri: str
    format: str
    fingerprint: str
    entries: int | None
    shards: int
    state: State
    label: str
    registered_by: str
    registered_at: datetime


def inspect_drop(uri: str) -> Drop:
    """Looks at a folder and says what kind of drop it is.

    Raises:
        UsageError: the folder does not exist, is not a drop, is empty or is not finished; the message says what was looked for.
    """
    return inspect_listing(_listing(uri))


def inspect_listing(listing: Listing) -> Drop:
    """Like :func:`inspect_drop`, for a folder that has already been listed."""
    found, sources = detect_format(listing)
    if sources.entries == 0:
        raise UsageError(f"{listing.uri} is an empty drop: its {len(sources.paths)} shards record no entry at all.")
    return Drop(listing.uri, found.name, sources.paths, listing.fingerprint(), sources.entries, sources.label)


def drop_fingerprint(uri: str) -> str:
    """The fingerprint of a drop's folder as it is now; no file is opened. Raises UsageError if the folder does not exist."""
    return _listing(uri).fingerprint()


def _listing(uri: str) -> Listing:
    listing = list_folder(uri)
    if listing is None:
        raise UsageError(
            f"{uri} is not a folder. A crawl drop is a folder as it arrived: img2dataset's output, tars, a table of URLs, WARC or WAT."
        )
    return listing


def default_partition_key(drop: Drop) -> str:
    """The folder's own name, if it can serve as a key."""
    return check_partition_key(Path(drop.uri).name)


def check_new(warehouse: Warehouse, drop: Drop, crawl_partition: str, *, replace: bool = False) -> None:
    """Raises UsageError if the drop, or another one under that key, is registered already."""
    check_partition_key(crawl_partition)
    for known in list_drops(warehouse, retired=True):
        same_key, same_folder = known.crawl_partition == crawl_partition, known.uri == drop.uri
        if known.state == "retired":
            if same_key and not replace:
                raise UsageError(
                    f"crawl partition {crawl_partition!r} was retired. Use --replace to bring it back with this drop."
                )
            continue
        if same_folder and not same_key:
            raise UsageError(f"{drop.uri} is registered already, as crawl partition {known.crawl_partition!r}.")
        if same_key and not same_folder and not replace:
            raise UsageError(
                f"crawl partition {crawl_partition!r} is {known.uri} already. Give the new drop another key, "
                "or use --replace to let it take the old one's place."
            )
        if same_key and same_folder and known.fingerprint == drop.fingerprint and known.state == "active":
            raise UsageError(
                f"{drop.uri} is registered already, as crawl partition {crawl_partition!r}, and is unchanged."
            )


def register_drop(
    warehouse: Warehouse, drop: Drop, crawl_partition: str, *, run_id: str, registered_by: str | None = None
) -> None:
    """Records the drop under its key; from then on raw_crawl reads that partition from it."""
    register_drops(warehouse, [(crawl_partition, drop)], run_id=run_id, registered_by=registered_by)


def register_drops(
    warehouse: Warehouse, drops: Sequence[tuple[str, Drop]], *, run_id: str, registered_by: str | None = None
) -> None:
    """Records many drops in one commit."""
    rows = [
        _row(
            RegisteredDrop(
                crawl_partition=check_partition_key(key),
                uri=drop.uri,
                format=drop.format,
                fingerprint=drop.fingerprint,
                entries=drop.entries,
                shards=len(drop.sources),
                state="active",
                label=drop.label,
                registered_by=registered_by or getpass.getuser(),
                registered_at=datetime.now(UTC),
            ),
            run_id,
        )
        for key, drop in drops
    ]
    append_new(warehouse, CRAWL_DROPS, rows, properties={"run_id": run_id})


def set_state(
    warehouse: Warehouse, drop: RegisteredDrop, state: State, *, fingerprint: str | None = None, by: str, run_id: str
) -> None:
    """Records that a partition's drop is pinned, retired or active again."""
    changed = RegisteredDrop(
        **{
            **vars(drop),
            "state": state,
            "fingerprint": fingerprint or drop.fingerprint,
            "registered_by": by,
            "registered_at": datetime.now(UTC),
        }
    )
    append_new(warehouse, CRAWL_DROPS, [_row(changed, run_id)], properties={"run_id": run_id})


def _row(drop: RegisteredDrop, run_id: str) -> dict[str, object]:
    return {**vars(drop), "run_id": run_id}


def list_drops(warehouse: Warehouse, *, retired: bool = False) -> list[RegisteredDrop]:
    """The current drop of each crawl partition, by key.

    Args:
        retired: whether to include retired ones.
    """
    rows = read_rows(
        warehouse,
        "SELECT * EXCLUDE (run_id) REPLACE (coalesce(state, 'active') AS state, coalesce(label, '') AS label) FROM crawl_drops "
        "QUALIFY row_number() OVER (PARTITION BY crawl_partition ORDER BY registered_at DESC) = 1 ORDER BY crawl_partition",
        tables=["crawl_drops"],
    )
    drops = [RegisteredDrop(**row) for row in rows]
    return [drop for drop in drops if retired or drop.state != "retired"]


def registered_drop(warehouse: Warehouse, crawl_partition: str) -> RegisteredDrop:
    """The drop of a crawl partition. Raises UsageError if none is registered under that key."""
    drops = {drop.crawl_partition: drop for drop in list_drops(warehouse)}
    if crawl_partition not in drops:
        raise UsageError(
            f"no crawl drop is registered as partition {crawl_partition!r} (registered: {', '.join(drops) or 'none'}). "
            "Register its folder first: veclip crawl add DIR --partition KEY, or job register_crawl_drop in the Dagster UI."
        )
    return drops[crawl_partition]
