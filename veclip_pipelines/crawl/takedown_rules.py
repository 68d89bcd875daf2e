"""What must not be ingested again: the requests of all takedowns, and the pictures that they removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class Rules:
    """The takedown of each URL, host and SHA-256 that is kept out; and perceptual hashes with the distance that counts as near."""

    urls: Mapping[str, str] = field(default_factory=dict)
    domains: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    near: tuple[tuple[int, int, str], ...] = ()

    def against_address(self, *urls: str | None) -> str | None:
        """The takedown that keeps one of these addresses out, or None."""
        for url in urls:
            if not url or not (self.urls or self.domains):
                continue
            if url in self.urls:
                return self.urls[url]
            for domain in domains_of(url) if self.domains else ():
                if domain in self.domains:
                    return self.domains[domain]
        return None

    def against_picture(self, image_sha256: str | None, phash: str | None) -> str | None:
        """The takedown that keeps a picture out, by its bytes or by its perceptual hash, or None."""
        if image_sha256 in self.pictures:
            return self.pictures[str(image_sha256)]
        if phash is not None and self.near:
            bits = int(phash, 16)
            return next((out for other, most, out in self.near if (bits ^ other).bit_count() <= most), None)
        return None


def domains_of(url: str) -> list[str]:
    """The URL's host in lower case, and each domain that it belongs to."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:  # brackets without a valid address
        return []
    parts = host.split(".")
    return [".".join(parts[at:]) for at in range(len(parts)) if host]


def read_rules(warehouse: Warehouse) -> Rules:
    """The rules in force; if several takedowns ask for the same thing, the first one counts."""
    found: dict[str, dict[str, str]] = {"url": {}, "domain": {}, "sha256": {}}
    near = []
    rows = read_rows(warehouse, "SELECT * FROM takedowns ORDER BY requested_at, kind, value", tables=["takedowns"])
    for row in rows:
        if row["kind"] == "near":
            near.append((int(row["value"], 16), int(row["distance"]), str(row["takedown_id"])))
        else:
            found[row["kind"]].setdefault(row["value"], row["takedown_id"])
    taken = read_rows(
        warehouse,
        "SELECT DISTINCT image_sha256, takedown_id FROM tombstones WHERE image_sha256 IS NOT NULL ORDER BY ALL",
        tables=["tombstones"],
    )
    for row in taken:
        found["sha256"].setdefault(row["image_sha256"], row["takedown_id"])
    return Rules(found["url"], found["domain"], found["sha256"], tuple(near))
