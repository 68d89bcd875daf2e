"""What a drop format is to the rest: a name, how it is told, how its entries are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from veclip_pipelines.crawl.entries import Entry
from veclip_pipelines.crawl.formats.listing import Listing

#: in_place: pictures lie in the drop's tars, and rows point there. packed: the drop has the bytes in another form, and they
#: are packed into tars of ours. listed: the drop has texts and the way to each picture (a URL, a loose file): it is
#: first cut into lists of entries, so that a file of 30 million is taken in in flat memory and by many workers.
Kind = Literal["in_place", "packed", "listed"]


@dataclass(frozen=True)
class Sources:
    """What a format found in a folder.

    Attributes:
        paths: its source files (or folders), relative to the drop, sorted: one task each.
        entries: entries by the drop's own record, None where it keeps none and they are counted as they are read.
        label: what to call it, where it says more than the format's name (a data set's name).
    """

    paths: tuple[str, ...]
    entries: int | None
    label: str = ""


@dataclass(frozen=True)
class DropFormat:
    """One format.

    Attributes:
        name: as it stands in crawl_drops.
        kind: where the pictures are.
        detect: what it finds in a folder; None where the folder is of another format.
            Raises UsageError where it is of this one and cannot be used.
        read: the entries of one source: (folder of the drop, path in it).
    """

    name: str
    kind: Kind
    detect: Callable[[Listing], Sources | None]
    read: Callable[[str, str], Iterator[Entry]]


def join(drop_uri: str, path: str) -> str:
    """URI of a source of a drop."""
    return f"{drop_uri.rstrip('/')}/{path}"
