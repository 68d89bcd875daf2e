"""What a reader of a drop format yields: an entry of the crawl, with its picture, the way to it, or the reason it has none."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """One entry of a drop. A Struct, as there are hundreds of millions: a frozen dataclass takes ten times as long to make.

    Attributes:
        source_key: the entry's key in its source file.
        url: where the picture came from, where the drop says so.
        alt_text_raw: the AltText as it came, "" where there is none.
        image: the picture's bytes; None where the entry has none, or has them elsewhere.
        image_offset: where the bytes begin in the drop's own tar; None where they must be packed first.
        picture_path: a loose picture's path relative to the drop's folder.
        fault: reason code and detail of an entry that arrived without a usable picture.
        captions: captions that the drop brings along, by their column.
        extra: columns that have no place of their own here, kept as they came.
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
