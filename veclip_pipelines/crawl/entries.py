"""What a reader of a drop format yields: an entry of the crawl, with its picture or the reason it has none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One entry of a shard.

    Attributes:
        source_key: the entry's key in its shard.
        url: where the picture came from, where the drop says so.
        alt_text_raw: the AltText as it came, "" where there is none.
        image: the picture's bytes, None where the entry has none.
        image_offset: where the bytes begin in the shard.
        fault: reason code and detail of an entry that arrived without a picture.
    """

    source_key: str
    url: str | None
    alt_text_raw: str
    image: bytes | None
    image_offset: int | None
    fault: tuple[str, str] | None = None
    page_url: str | None = None
