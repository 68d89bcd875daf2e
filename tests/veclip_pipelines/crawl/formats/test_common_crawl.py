"""WARC and WAT: picture URL, AltText and page URL, and the page's opt-outs."""

from __future__ import annotations

from pathlib import Path

import pytest
from drops import page, warc_of, wat

from veclip_pipelines.crawl.formats.base import Entry
from veclip_pipelines.crawl.formats.common_crawl import read_entries

PAGE = "https://p.example/shop/cats.html"


def entries_of(tmp_path: Path, name: str, data: bytes) -> list[Entry]:
    (tmp_path / name).write_bytes(data)
    return list(read_entries(str(tmp_path), name))


def found(entries: list[Entry]) -> list[tuple[str | None, str]]:
    return [(entry.url, entry.alt_text_raw) for entry in entries]


def test_a_page(tmp_path: Path) -> None:
    html = """<!doctype html><html><head><base href="/pics/"></head><body>
      <img src="a.jpg" alt="A cat &amp; a dog"><IMG SRC='//cdn.example/b.png' ALT="über">
      <img src="no-alt.jpg"><img src="empty.jpg" alt=""><img alt="no source">
      <img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" data-src="lazy.jpg" alt="lazy">
      <img srcset="set-1x.jpg 1x, set-2x.jpg 2x" alt="a set"><img src="http://[bad" alt="bad"></body></html>"""
    entries = entries_of(tmp_path, "a.warc.gz", warc_of([(PAGE, page(html), "response")]))
    assert found(entries[:2]) == [
        ("https://p.example/pics/a.jpg", "A cat & a dog"),
        ("https://cdn.example/b.png", "über"),
    ]
    assert {entry.alt_text_raw: entry.url for entry in entries[2:]} == {
        "no source": None, "lazy": "https://p.example/pics/lazy.jpg", "a set": "https://p.example/pics/set-1x.jpg", "bad": "http://[bad",
    }  # fmt: skip
    assert {entry.page_url for entry in entries} == {PAGE}
    assert len({entry.source_key for entry in entries}) == len(entries)
    assert [entry.fault[0] for entry in entries if entry.fault] == ["no_picture_url"]


def test_pages_in_other_encodings_and_other_answers(tmp_path: Path) -> None:
    records = [
        (PAGE, page('<img src="a.jpg" alt="naïve café">', charset="latin-1"), "response"),
        (PAGE, page('<img src="a.jpg" alt="gone">', status="404 Not Found"), "response"),
        (
            "https://p.example/a.jpg",
            b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 3\r\n\r\nalt",
            "response",
        ),
        (PAGE, b"no http at all alt", "response"),
    ]
    assert found(entries_of(tmp_path, "a.warc.gz", warc_of(records))) == [
        ("https://p.example/shop/a.jpg", "naïve café")
    ]


@pytest.mark.parametrize(
    "meta", ['<meta name="robots" content="noai, noimageai">', '<meta name="tdm-reservation" content="1">']
)
def test_a_page_that_opts_out_by_its_head(tmp_path: Path, meta: str) -> None:
    html = f'<head>{meta}</head><img src="a.jpg" alt="A cat">'
    (entry,) = entries_of(tmp_path, "a.warc.gz", warc_of([(PAGE, page(html), "response")]))
    assert entry.fault is not None
    assert entry.fault[0] == "opted_out"


def test_a_page_that_opts_out_by_a_header(tmp_path: Path) -> None:
    answer = page('<img src="a.jpg" alt="A cat">', "X-Robots-Tag: noimageindex")
    (entry,) = entries_of(tmp_path, "a.warc.gz", warc_of([(PAGE, answer, "response")]))
    assert entry.fault == ("opted_out", "x-robots-tag: noimageindex")


def test_a_wat(tmp_path: Path) -> None:
    links = [
        {"path": "IMG@/src", "url": "a.jpg", "alt": "A cat"},
        {"path": "IMG@/src", "url": "/b.jpg", "alt": "B", "title": "more"},
        {"path": "A@/href", "url": "c.html", "text": "C", "alt": "no picture"},
        {"path": "IMG@/src", "url": "d.jpg"},
        {"path": "IMG@/src", "url": "e.jpg", "alt": ["odd"]},
        {"path": "IMG@/src", "url": 7, "alt": "no url"},
    ]
    records = [
        ("", b'{"Container": {}, "Envelope": {"Payload-Metadata": {}}}', "metadata"),
        (PAGE, wat(links, PAGE, base="https://cdn.example/x/"), "metadata"),
        (PAGE, wat(links[:1], PAGE, Metas=[{"name": "robots", "content": "noai"}]), "metadata"),
        (PAGE, b'{"IMG@/src": "alt" broken', "metadata"),
        (PAGE, b'{"Envelope": {"IMG@/src": 1, "alt": 2, "Payload-Metadata": []}, "alt": "IMG@/src"}', "metadata"),
        (PAGE, wat(links[:1], PAGE).replace(b"A cat", b"A \xff cat"), "metadata"),
    ]
    entries = entries_of(tmp_path, "a.warc.wat.gz", warc_of(records))
    assert found(entries[:3]) == [
        ("https://cdn.example/x/a.jpg", "A cat"), ("https://cdn.example/b.jpg", "B"), (None, "no url"),
    ]  # fmt: skip
    assert [entry.fault[0] if entry.fault else "" for entry in entries] == [
        "", "", "no_picture_url", "opted_out", "malformed_row", "malformed_row", "",
    ]  # fmt: skip
    assert entries[-1].alt_text_raw == "A \ufffd cat"


@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc.wat.gz"])
def test_an_archive_that_breaks_off_keeps_what_came_before(tmp_path: Path, name: str) -> None:
    kind = "metadata" if "wat" in name else "response"
    link = {"path": "IMG@/src", "url": "a.jpg", "alt": "A cat"}
    data = wat([link], PAGE) if "wat" in name else page('<img src="a.jpg" alt="A cat">')
    whole = warc_of([(PAGE, data, kind), (PAGE, data, kind)])
    one = len(warc_of([(PAGE, data, kind)]))
    broken = whole[:one] + b"\x1f\x8b\x08\x00 this is no gzip" + bytes(100)
    entries = entries_of(tmp_path, name, broken)
    assert entries[0].url == "https://p.example/shop/a.jpg"
    assert all(entry.fault for entry in entries[1:])
