"""An entry as a row of raw_crawl: verified, hashed, cleaned and flagged, kept or rejected with a reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

import pyarrow as pa

from veclip_pipelines.compute.fanout import stop_if_cancelled
from veclip_pipelines.crawl.formats.base import Entry
from veclip_pipelines.crawl.formats.columns import extra_json
from veclip_pipelines.crawl.packing import TarPacker
from veclip_pipelines.crawl.takedown_rules import Rules
from veclip_pipelines.media.pictures import PictureError, examine
from veclip_pipelines.media.texts import clean_alt_text, flags_of, language_of, storable
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.schemas.shared_columns import KEPT, REJECTED
from veclip_pipelines.tables.query import TAKEN_DOWN

_CHUNK = 1_000


def sample_id_of(url: str | None, source_key: str, alt_text_raw: str, image_sha256: str | None) -> str:
    """32 hex of SHA-256 over URL (or source key), raw AltText and image_sha256.

    The same on re-ingest and in every partition. Each part is preceded by its length, so that two triples cannot collide
    just because their parts are divided differently.
    """
    digest = hashlib.sha256()
    for part in (url or source_key, alt_text_raw, image_sha256 or ""):
        data = part.encode("utf-8", "replace")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:32]


def host_of(url: str | None) -> str | None:
    """The host of a URL in lower case, without user and port; None if there is none."""
    try:
        return storable(urlsplit(url or "").hostname)
    except ValueError:  # brackets without a valid address
        return None


#: What remains of an entry that was taken down: ids, and the place that is to be erased.
STAYS = ("sample_id", "image_sha256", "source_key", "source_uri", "shard_uri", "image_offset", "image_length")


def taken_down_row(row: Mapping[str, object], takedown_id: str) -> dict[str, object]:
    """The row of an entry that was taken down: that it existed, and where; no address, no text, nothing about its looks."""
    return {
        **{name: row.get(name) for name in STAYS},
        "flags": [],
        "outcome": REJECTED,
        "reason": TAKEN_DOWN,
        "detail": f"takedown {takedown_id}",
    }


class _TakenDown(Exception):  # noqa: N818 - not an error: what was asked for
    """A picture that a takedown keeps out; its argument is the takedown."""


@dataclass(frozen=True)
class RowMaker:
    """Makes the rows of one shard.

    Attributes:
        source_uri: the drop's file that the entries come from.
        shard_uri: the tar that holds, or will hold, the pictures.
        packer: takes pictures that are not in a tar yet; None if rows point into the drop's own.
        nsfw: whether pictures are scored.
        rules: what was taken down: an entry that they keep out becomes a row that says only that, and is not packed.
    """

    source_uri: str
    shard_uri: str
    packer: TarPacker | None = None
    nsfw: bool = False
    fetched_at: datetime | None = None
    rules: Rules = field(default_factory=Rules)

    def row(self, entry: Entry) -> dict[str, object]:
        """The row of one entry."""
        alt_text = clean_alt_text(entry.alt_text_raw)
        language, confidence = language_of(alt_text)
        row: dict[str, object] = {
            "url": storable(entry.url),
            "page_url": storable(entry.page_url),
            "url_host": host_of(entry.url),
            "page_host": host_of(entry.page_url),
            "final_url": storable(entry.final_url),
            "alt_text": alt_text,
            "alt_text_raw": storable(entry.alt_text_raw),
            "source_key": storable(entry.source_key),
            "source_uri": self.source_uri,
            "language": language,
            "language_confidence": confidence,
            "flags": flags_of(alt_text),
            "captions": [{"name": name, "text": storable(text)} for name, text in sorted(entry.captions.items())],
            "extra": storable(extra_json(entry.extra)),
            "fetched_at": self.fetched_at,
            "outcome": KEPT,
        }
        sha256 = None if entry.image is None else hashlib.sha256(entry.image).hexdigest()
        row["sample_id"] = sample_id_of(entry.url, entry.source_key, entry.alt_text_raw, sha256)
        taken_down = self.rules.against_address(entry.url, entry.page_url, entry.final_url)
        fault = entry.fault
        if entry.image is not None and sha256 is not None and taken_down is None:
            try:
                fault = self._look(entry, entry.image, sha256, row) or fault
            except _TakenDown as refusal:
                taken_down = str(refusal)
        if taken_down is not None:
            row |= {"image_sha256": sha256, "source_uri": self.source_uri}
            if entry.image is not None and entry.image_offset is not None and self.packer is None:
                row |= {
                    "shard_uri": self.shard_uri,
                    "image_offset": entry.image_offset,
                    "image_length": len(entry.image),
                }
            return taken_down_row(row, taken_down)
        if fault is not None:
            row |= {"outcome": REJECTED, "reason": fault[0][:64], "detail": storable(fault[1][:500])}
        return row

    def _look(self, entry: Entry, data: bytes, sha256: str, row: dict[str, object]) -> tuple[str, str] | None:
        """Verifies the picture and fills in what is known about it; returns the fault of a picture that cannot be used.

        Raises:
            _TakenDown: the rules keep this picture out.
        """
        row["image_sha256"] = sha256
        offset = entry.image_offset
        if out := self.rules.against_picture(sha256, None):
            raise _TakenDown(out)
        try:
            facts = examine(data)
        except PictureError as error:
            fault: tuple[str, str] | None = (error.reason, error.detail)
            if data and not any(data):
                fault = ("erased", "nothing is left of the picture but zeros")
        else:
            fault = None
            if out := self.rules.against_picture(None, facts.phash):
                raise _TakenDown(out)
            row |= {name: getattr(facts, name) for name in ("media_type", "width", "height", "phash")}
            if self.packer is not None:
                offset = self.packer.add(sha256, facts.media_type, data)
            if self.nsfw:
                from veclip_pipelines.engines.nsfw import nsfw_score

                row["nsfw_score"] = nsfw_score(data)
        if offset is not None:
            row |= {"shard_uri": self.shard_uri, "image_offset": offset, "image_length": len(data)}
        return fault


def rows_table(rows: Iterable[dict[str, object]]) -> pa.Table:
    """Rows as an Arrow table, converted a few at a time: dictionaries of a whole shard would take ten times the memory.

    Raises:
        CancelledTaskError: the run that wanted them was cancelled.
    """
    batches: list[pa.RecordBatch] = []
    chunk: list[dict[str, object]] = []
    for row in rows:
        stop_if_cancelled()
        chunk.append(row)
        if len(chunk) == _CHUNK:
            batches.append(pa.RecordBatch.from_pylist(chunk, schema=RAW_CRAWL.file_schema))
            chunk = []
    batches.append(pa.RecordBatch.from_pylist(chunk, schema=RAW_CRAWL.file_schema))
    return pa.Table.from_batches(batches, schema=RAW_CRAWL.file_schema)
