"""What a drop format is to the rest: a name, how it is recognised, how its entries are read, and what an entry is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from veclip_pipelines.crawl.formats.listing import Listing

#: in_place: pictures lie in the drop's tars, and rows point there. packed: the drop has the bytes in another form, and they
#: are packed into tars of ours. listed: the drop has texts and where to find each picture (a URL, a loose file): it is
#: first cut into lists of entries, so that many workers share a file of 30 million, with no more memory than for a small one.
Kind = Literal["in_place", "packed", "listed"]


class Entry(msgspec.Struct, frozen=True):
    """One entry of a drop. A Struct because there are hundreds of millions: a frozen dataclass takes ten times as long to make.

    Attributes:
        source_key: the entry's key in its source file.
        url: where the picture came from, if the drop says so.
        alt_text_raw: the AltText unchanged, "" if there is none.
        image: the picture's bytes; None if the entry has none, or has them elsewhere.
        image_offset: where the bytes begin in the drop's own tar; None if they must be packed first.
        picture_path: a loose picture's path relative to the drop's folder.
        fault: reason code and detail of an entry that arrived without a usable picture.
        captions: captions that came with the drop, by their column.
        extra: columns that have no field of their own here, kept unchanged.
        final_url: where a fetched picture was found in the end.
    """

    source_key: str
    url: str | None
    alt_text_raw: str
    image: bytes | None = None
    image_offset: int | None = None
    fault: tuple[str, str] | None = None
    page_url: str | None = None
    picture_path: str | None = None
    captions: Mapping[str, str] = {}
    extra: Mapping[str, object] = {}
    final_url: str | None = None


@dataclass(frozen=True)
class Sources:
    """What a format found in a folder.

    Attributes:
        paths: its source files (or folders), relative to the drop, sorted: one task each.
        entries: number of entries according to the drop's own record, None if it keeps none: then they are counted when read.
        label: what to call it, if that says more than the format's name (a data set's name).
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
        detect: what it finds in a folder; None if the folder is in another format.
            Raises UsageError if the folder is in this format but cannot be used.
        read: the entries of one source: (folder of the drop, path in it).
    """

    name: str
    kind: Kind
    detect: Callable[[Listing], Sources | None]
    read: Callable[[str, str], Iterator[Entry]]


def join(drop_uri: str, path: str) -> str:
    """URI of a source of a drop."""
    return f"{drop_uri.rstrip('/')}/{path}"
