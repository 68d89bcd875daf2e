"""Drops in the other formats, written the way the tools or publishers of each format write them."""

from __future__ import annotations

import csv
import gzip
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from builders import add_member, picture


def write_plain_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            add_member(tar, name, data)
    return path.parent


def write_loose_img2dataset(folder: Path, count: int, *, parquet: bool, failed: int = 1) -> Path:
    """img2dataset's ``files`` or ``parquet`` output: one shard, some rows failed."""
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for number in range(count + failed):
        key, good = f"00000{number:04d}", number < count
        row: dict[str, Any] = {
            "url": f"https://x.example/{number}", "caption": f"shape number {number} here", "key": key,
            "status": "success" if good else "failed_to_download", "error_message": None if good else "HTTP Error 404",
            "similarity": 0.3, "sha256": None,
        }  # fmt: skip
        if parquet:
            row["jpg"] = picture(number, kind="JPEG") if good else None
        elif good:
            (folder / "00000").mkdir(exist_ok=True)
            (folder / "00000" / f"{key}.jpg").write_bytes(picture(number, kind="JPEG"))
            (folder / "00000" / f"{key}.txt").write_text(row["caption"], "utf-8")
            (folder / "00000" / f"{key}.json").write_text("{}", "utf-8")
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text(json.dumps({"count": count + failed}), "utf-8")
    return folder


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A table in the form that its ending names; returns its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            tabs = path.suffix == ".tsv"
            writer = csv.writer(
                file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
            )
            writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
    return path.parent


def warc_of(records: Sequence[tuple[str, bytes, str]]) -> bytes:
    """A WARC, each record gzipped by itself as Common Crawl's are: (page's URL, HTTP response or WAT JSON, kind of record)."""
    out = []
    for url, data, kind in records:
        content = "application/http; msgtype=response" if kind == "response" else "application/json"
        head = [
            "WARC/1.0", f"WARC-Type: {kind}", f"WARC-Target-URI: {url}", "WARC-Date: 2026-01-01T00:00:00Z",
            "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>", f"Content-Type: {content}",
            f"Content-Length: {len(data)}",
        ]  # fmt: skip
        out.append(gzip.compress("\r\n".join([*head, "", ""]).encode() + data + b"\r\n\r\n", 6))
    return b"".join(out)


def page(html: str, *headers: str, status: str = "200 OK", charset: str = "utf-8") -> bytes:
    body = html.encode(charset)
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: text/html; charset={charset}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def wat(links: Sequence[Mapping[str, Any]], url: str, base: str | None = None, **head: Any) -> bytes:
    """A WAT record's JSON, with as much around the links as the real ones have."""
    metadata = {
        "Head": {"Title": "a page", **({"Base": base} if base else {}), **head},
        "Links": list(links),
    }
    envelope = {
        "Format": "WARC",
        "WARC-Header-Metadata": {"WARC-Type": "response", "WARC-Target-URI": url},
        "Payload-Metadata": {
            "Actual-Content-Type": "application/http; msgtype=response",
            "HTTP-Response-Metadata": {"Response-Message": {"Status": "200"}, "Headers": {"Server": "x"}, "HTML-Metadata": metadata},
        },
    }  # fmt: skip
    return json.dumps({"Container": {"Compressed": True}, "Envelope": envelope}).encode()
