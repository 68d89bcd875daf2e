"""Landing places: folders or fsspec URLs in which crawl drops arrive as subfolders, without being registered by anyone.

Pure: from what is there, what is known and what is in flight it works out what is to be done. Looking and acting are elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from veclip_pipelines.crawl.drops import RegisteredDrop
from veclip_pipelines.crawl.formats.listing import Listing, list_folder
from veclip_pipelines.crawl.formats.webdataset import stats_path
from veclip_pipelines.crawl.policy import LandingPlace
from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.storage import names_in
from veclip_pipelines.tables.warehouse import check_partition_key


@dataclass(frozen=True)
class LandedDrop:
    """A subfolder of a landing place, as it is now.

    Attributes:
        key: its name, which becomes the crawl partition's key.
        waiting_for: why it is not ingested yet, "" if it is complete and no longer changing.
    """

    key: str
    uri: str
    fingerprint: str
    waiting_for: str
    listing: Listing = field(compare=False, repr=False)


@dataclass(frozen=True)
class LandingChanges:
    """What is to be done.

    Attributes:
        register: drops that are new, or that grew or changed.
        index: keys whose raw_crawl was not made from the drop as it is now: those of ``register``, and those a crash left undone.
        waiting: why a drop is not ingested yet, by key. refused: why it cannot be ingested at all unless it changes.
    """

    register: tuple[LandedDrop, ...]
    index: tuple[LandedDrop, ...]
    waiting: Mapping[str, str]
    refused: Mapping[str, str]


def landed_drops(place: LandingPlace, now: float | None = None) -> list[LandedDrop]:
    """Lists the drops in a landing place.

    Raises:
        UsageError: it does not exist, or cannot be listed.
    """
    try:
        names = names_in(place.uri, folders_only=True)
    except OSError as error:
        raise UsageError(f"landing place {place.uri} cannot be listed: {error}") from error
    found = []
    for name in names:
        listing = None if name.startswith((".", "_")) else list_folder(f"{place.uri.rstrip('/')}/{name}")
        if listing is not None and listing.files:
            waiting = waiting_for(listing, place, time.time() if now is None else now)
            found.append(LandedDrop(name, listing.uri, listing.fingerprint(), waiting, listing))
    return found


def waiting_for(listing: Listing, place: LandingPlace, now: float) -> str:
    """Why a drop is not ingested yet: it is not complete, or something in it changed a moment ago."""
    if place.done_marker not in listing.markers:
        tars = listing.ending(".tar")
        missing = [tar for tar in tars if stats_path(tar) not in listing.paths]
        if not tars or missing:
            shards = f" and {len(missing)} of {len(tars)} shards have no _stats.json" if tars else ""
            return f"there is no {place.done_marker}{shards}"
    quiet = now - listing.newest_change
    return f"it changed {quiet:.0f} s ago" if quiet < place.quiet_seconds else ""


def landing_changes(
    landed: Collection[LandedDrop],
    known: Mapping[str, RegisteredDrop],
    indexed: Mapping[str, str],
    in_flight: Collection[str],
    limit: int,
) -> LandingChanges:
    """What is to be done about the drops that landed.

    Args:
        known: registered drops by key, including retired ones.
        indexed: fingerprint of the drop that each partition's raw_crawl was made from.
        in_flight: keys of partitions that a run is working on: they are left alone until it has ended.
        limit: number of drops ingested at once; the others follow at the next look.
    """
    register: list[LandedDrop] = []
    index: list[LandedDrop] = []
    waiting: dict[str, str] = {}
    refused: dict[str, str] = {}
    taken: set[str] = set()
    for drop in sorted(landed, key=lambda drop: (drop.key, drop.uri)):
        registered = known.get(drop.key)
        if fault := _fault(drop, registered, taken):
            refused[drop.uri] = fault
            continue
        taken.add(drop.key)
        if registered is not None and registered.state != "active":
            continue  # rolled back or retired: a person decides
        new = registered is None or registered.fingerprint != drop.fingerprint
        if not new and indexed.get(drop.key) == drop.fingerprint:
            continue
        if drop.waiting_for:
            waiting[drop.key] = drop.waiting_for
        elif drop.key in in_flight:
            waiting[drop.key] = "a run is at work on its partition"
        elif len(index) >= limit:
            waiting[drop.key] = "its turn comes at the next look"
        else:
            index.append(drop)
            if new:
                register.append(drop)
    return LandingChanges(tuple(register), tuple(index), waiting, refused)


def _fault(drop: LandedDrop, registered: RegisteredDrop | None, taken: Collection[str]) -> str:
    try:
        check_partition_key(drop.key)
    except UsageError as error:
        return str(error)
    if drop.key in taken or (registered is not None and registered.state != "retired" and registered.uri != drop.uri):
        return f"crawl partition {drop.key!r} is another folder already"
    return ""
