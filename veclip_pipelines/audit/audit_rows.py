"""The check of an audit that follows rows down to the bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from veclip_pipelines.audit.audited import Audited, Finding
from veclip_pipelines.crawl.rows import sample_id_of
from veclip_pipelines.media.pictures import PictureError, examine
from veclip_pipelines.media.shards import ByteRange, read_range
from veclip_pipelines.media.texts import clean_alt_text
from veclip_pipelines.schemas.shared_columns import KEPT


def check_sample(about: Audited, count: int, seed: int) -> Iterator[Finding]:
    """Rows drawn over the whole crawl: picture, hashes, sample_id and clean AltText are worked out anew from what the row points to."""
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
