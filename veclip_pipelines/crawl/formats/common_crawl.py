"""Common Crawl's WARC (pages) and WAT (their extracted links): pictures with an AltText, and the page that shows them.

A picture without an AltText is not an image-text pair and does not become an entry, as in cc2dataset. A page whose HTTP header
or <head> opts out gives entries with the reason opted_out, which are never fetched.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin

import msgspec
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.parse.encoding import detect_encoding
from resiliparse.parse.html import HTMLTree

from veclip_pipelines.crawl.fetch.directives import opted_out
from veclip_pipelines.crawl.formats.base import DropFormat, Entry, Sources, join
from veclip_pipelines.crawl.formats.listing import Listing
from veclip_pipelines.crawl.policy import OPT_OUTS
from veclip_pipelines.media.storage import open_file

_WAT = (".wat", ".wat.gz")
_WARC = (".warc", ".warc.gz")
_MAX_PAGE = 8 * 2**20


class _Link(msgspec.Struct):
    path: Any = None
    url: Any = None
    alt: Any = None


class _Head(msgspec.Struct):
    base: Any = msgspec.field(name="Base", default=None)
    metas: Any = msgspec.field(name="Metas", default=None)


class _Html(msgspec.Struct):
    links: list[_Link] = msgspec.field(name="Links", default_factory=list)
    head: _Head = msgspec.field(name="Head", default_factory=_Head)


class _Response(msgspec.Struct):
    html: _Html | None = msgspec.field(name="HTML-Metadata", default=None)
    headers: Any = msgspec.field(name="Headers", default=None)


class _Payload(msgspec.Struct):
    response: _Response | None = msgspec.field(name="HTTP-Response-Metadata", default=None)


class _WarcHeader(msgspec.Struct):
    uri: str | None = msgspec.field(name="WARC-Target-URI", default=None)


class _Envelope(msgspec.Struct):
    payload: _Payload = msgspec.field(name="Payload-Metadata")
    header: _WarcHeader = msgspec.field(name="WARC-Header-Metadata", default_factory=_WarcHeader)


class _Wat(msgspec.Struct):
    envelope: _Envelope = msgspec.field(name="Envelope")


#: Only what is named above becomes Python objects: the rest of a record, which is most of it, is skipped while parsing.
_DECODER = msgspec.json.Decoder(_Wat)


def detect(listing: Listing) -> Sources | None:
    files = listing.ending(*_WAT, *_WARC)
    return Sources(tuple(files), None) if files else None


def read_entries(drop_uri: str, path: str) -> Iterator[Entry]:
    """Entries of a WARC or WAT. A truncated or damaged file gives a last entry that says so."""
    is_wat = path.lower().endswith(_WAT)
    kind = WarcRecordType.metadata if is_wat else WarcRecordType.response
    at = 0
    with open_file(join(drop_uri, path)) as file:
        try:
            for record in ArchiveIterator(file, record_types=kind, parse_http=not is_wat):
                at = record.stream_pos
                yield from _of_wat(record.reader.read(), at) if is_wat else _of_page(record, at)
        except Exception as error:
            # The reader raises its own exceptions and others for the same damage; entries read so far are kept.
            detail = f"the archive breaks off after the record at {at}: {type(error).__name__}"
            yield Entry(f"{at}-end", None, "", fault=("broken_source", detail))


def _of_wat(data: bytes, at: int) -> Iterator[Entry]:
    # Most records have no picture with an AltText: those are never parsed.
    if b"IMG@/src" not in data or b'"alt"' not in data:
        return
    envelope = _envelope(data)
    if envelope is None:
        yield Entry(f"{at}-0", None, "", fault=("malformed_row", "the WAT record is no JSON of the known form"))
        return
    response, page = envelope.payload.response, envelope.header.uri or ""
    if response is None or response.html is None:
        return
    html = response.html
    links = [link for link in html.links if link.path == "IMG@/src" and isinstance(link.alt, str) and link.alt.strip()]
    if not links:
        return
    maker = _EntryMaker(at, page, html.head.base)
    maker.refused = opted_out(_pairs(response.headers, _metas(html.head.metas)), OPT_OUTS, tdm=True)
    for link in links:
        yield maker.entry(link.url, link.alt)


def _envelope(data: bytes) -> _Envelope | None:
    """A record's content; one with invalid UTF-8 in some page's text is read with replacement characters."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        return _DECODER.decode(data).envelope
    try:
        return msgspec.convert(json.loads(data.decode("utf-8", "replace")), _Wat).envelope
    except (ValueError, msgspec.ValidationError, RecursionError):
        return None


def _pairs(headers: Any, metas: list[tuple[str, str]]) -> list[tuple[str, str]]:
    found = [(str(name), str(value)) for name, value in headers.items()] if isinstance(headers, Mapping) else []
    return found + metas


def _metas(metas: Any) -> list[tuple[str, str]]:
    if not isinstance(metas, list):
        return []
    return [(str(m.get("name") or ""), str(m.get("content") or "")) for m in metas if isinstance(m, Mapping)]


def _of_page(record: Any, at: int) -> Iterator[Entry]:
    http = record.http_headers
    if http is None or http.status_code != 200 or "html" not in (record.http_content_type or ""):
        return
    page = record.headers.get("WARC-Target-URI", "")
    body = record.reader.read(_MAX_PAGE)
    if b"alt" not in body and b"ALT" not in body:
        return
    document = HTMLTree.parse_from_bytes(body, record.http_charset or detect_encoding(body) or "utf-8").document
    if document is None:
        return
    images = document.get_elements_by_tag_name("img")
    base_tags = document.get_elements_by_tag_name("base")
    maker = _EntryMaker(at, page, base_tags[0].getattr("href") if len(base_tags) else None)
    metas = [
        ((meta.getattr("name") or ""), (meta.getattr("content") or ""))
        for meta in document.get_elements_by_tag_name("meta")
    ]
    maker.refused = opted_out([*http.astuples(), *metas], OPT_OUTS, tdm=True)
    for image in images:
        alt = image.getattr("alt") or ""
        if alt.strip():
            yield maker.entry(_source_of(image), alt)


def _source_of(image: Any) -> str | None:
    """Where the picture is: lazy loaders leave src empty, or put a data: placeholder there."""
    for name in ("src", "data-src", "data-original", "data-lazy-src"):
        value = image.getattr(name)
        if value and value.strip() and not value.strip().lower().startswith("data:"):
            return str(value)
    srcset = (image.getattr("srcset") or image.getattr("data-srcset") or "").split()
    return srcset[0].rstrip(",") if srcset else image.getattr("src")


class _EntryMaker:
    """Makes the entries of one page: with absolute picture URLs, keys, and the page's opt-out on each.

    Attributes:
        refused: the directive with which the page opts out, None if it does not.
    """

    def __init__(self, at: int, page: str, base: Any) -> None:
        self.refused: str | None = None
        self._at, self._page, self._made = at, page, 0
        self._base = page
        with contextlib.suppress(ValueError):  # a URL with unbalanced brackets
            self._base = urljoin(page, base) if isinstance(base, str) else page
        scheme, mark, rest = self._base.partition("://")
        # Most sources are joined to just the page's scheme and host: with these at hand, none of them needs parsing.
        self._scheme = f"{scheme}:" if mark else ""
        self._origin = (
            f"{scheme}://{rest.partition('/')[0]}" if mark and not set(rest.partition("/")[0]) & set("?#") else ""
        )

    def entry(self, source: Any, alt: str) -> Entry:
        key = f"{self._at}-{self._made}"
        self._made += 1
        url = self._join(source.strip()) if isinstance(source, str) else ""
        fault: tuple[str, str] | None = None
        if not url.startswith(("http://", "https://")):
            fault = ("no_picture_url", f"the picture's address is no http URL: {url[:60]!r}")
            url = ""
        if self.refused:
            fault = ("opted_out", self.refused)
        return Entry(key, url or None, alt, fault=fault, page_url=self._page or None)

    def _join(self, source: str) -> str:
        """The same as urljoin; plain cases are done without it."""
        if "/." not in source:
            if source.startswith(("http://", "https://")):
                return source
            if self._origin and source.startswith("/"):
                return self._scheme + source if source.startswith("//") else self._origin + source
        try:
            return urljoin(self._base, source)
        except ValueError:
            return ""


COMMON_CRAWL = DropFormat("common-crawl", "listed", detect, read_entries)
