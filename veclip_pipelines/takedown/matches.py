# ruff: noqa: S608 - all names in the SQL are ours, all values are in tables
"""Which rows a takedown is about: in every content of raw_crawl, present or earlier, that still exists, hidden or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, RAW_CRAWL, VECAP
from veclip_pipelines.tables.query import HOST_OF, TAKEN_DOWN, Asker
from veclip_pipelines.tables.standings import connect_all
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.requests import Request
from veclip_pipelines.takedown.text_fingerprints import fingerprints

_COLUMNS = (
    "sample_id, image_sha256, phash, crawl_partition, source_key, source_uri, shard_uri, image_offset, image_length, "
    "url, page_url, final_url"
)
#: Older rows have no columns for their hosts.
_HOSTS = (
    f"coalesce(url_host, {HOST_OF.format('url')})",
    f"coalesce(page_host, {HOST_OF.format('page_url')})",
    HOST_OF.format("final_url"),
)
_ON_DOMAIN = " OR ".join(f"({host} = d.value OR ends_with({host}, '.' || d.value))" for host in _HOSTS)
_BITS = "bit_count(xor(('0x' || r.phash)::UBIGINT, ('0x' || n.value)::UBIGINT))::INTEGER"
_NEAR = f"SELECT r.*, 'near', min({_BITS}) FROM rows r JOIN asked_near n ON {_BITS} <= n.distance WHERE r.phash IS NOT NULL GROUP BY ALL"
_ROWS = f"CREATE TEMP VIEW rows AS SELECT * FROM raw_crawl WHERE reason IS DISTINCT FROM '{TAKEN_DOWN}'"
_ASKED = f"""CREATE TEMP TABLE matched AS
SELECT *, 'sha256' AS matched_by, 0 AS bits FROM rows WHERE image_sha256 IN (SELECT value FROM asked_sha256)
UNION ALL SELECT *, 'url', 0 FROM rows WHERE url IN (SELECT value FROM asked_url) OR final_url IN (SELECT value FROM asked_url)
    OR page_url IN (SELECT value FROM asked_url)
UNION ALL SELECT *, 'domain', 0 FROM rows SEMI JOIN asked_domain d ON {_ON_DOMAIN}
UNION ALL {_NEAR}"""
_SAME_PICTURE = """INSERT INTO matched SELECT *, 'same_picture', 0 FROM rows
SEMI JOIN (SELECT image_sha256 FROM matched) USING (image_sha256) ANTI JOIN (SELECT sample_id FROM matched) USING (sample_id)"""
#: Each place of each sample once: the strongest reason counts.
_FOUND = f"""SELECT {_COLUMNS}, coalesce(json_extract_string(extra, '$.uid'), source_key) AS uid, matched_by, bits,
[alt_text, alt_text_raw] || list_transform(coalesce(captions, []), lambda c: c.text) AS said FROM matched
QUALIFY row_number() OVER (PARTITION BY sample_id, crawl_partition, source_uri, shard_uri
    ORDER BY list_position(['sha256', 'url', 'domain', 'near', 'same_picture'], matched_by), bits) = 1
ORDER BY crawl_partition, sample_id, source_uri, shard_uri"""
_CAPTIONS = """SELECT image_sha256, list(DISTINCT text) || list(DISTINCT engine_text) FROM concept_captions
WHERE image_sha256 IN (SELECT image_sha256 FROM matched) GROUP BY 1
UNION ALL SELECT sample_id, list(DISTINCT text) || list(DISTINCT engine_text) FROM vecap
WHERE sample_id IN (SELECT sample_id FROM matched) GROUP BY 1"""


@dataclass(frozen=True)
class Match:
    """A row that a takedown takes out.

    Attributes:
        matched_by: url, domain, sha256, near, or same_picture: it has exactly the bytes of one that was matched.
        distance: bits in which its perceptual hash differs from the one that was asked for.
        row: its columns of raw_crawl that a takedown needs.
        texts: fingerprints of its AltText and of all its captions.
    """

    matched_by: str
    distance: int
    row: dict[str, Any]
    texts: tuple[str, ...] = ()


def find_matches(warehouse: Warehouse, requests: Sequence[Request], distance: int | None = None) -> list[Match]:
    """The rows that the requests name, then those near them, then all that share a picture with any of these.

    Args:
        distance: take out near copies of what URLs, domains and SHA-256 name, too: bits in which a hash may differ.
    """
    with connect_all(warehouse, [RAW_CRAWL, CONCEPT_CAPTIONS, VECAP]) as connection:
        _load(connection, requests)
        connection.execute(_ROWS)
        connection.execute(_ASKED)
        if distance is not None:
            connection.execute("DELETE FROM asked_near")
            connection.execute(
                "INSERT INTO asked_near SELECT DISTINCT phash, ?::INTEGER FROM matched WHERE phash IS NOT NULL",
                [distance],
            )
            connection.execute(f"INSERT INTO matched {_NEAR}")
        connection.execute(_SAME_PICTURE)
        return _matches(connection)


def near_requests(matches: Sequence[Match], distance: int) -> list[Request]:
    """What keeps near copies of the matched pictures out of later crawls."""
    return sorted({Request("near", match.row["phash"], distance) for match in matches if match.row["phash"]})


def _load(connection: duckdb.DuckDBPyConnection, requests: Sequence[Request]) -> None:
    for kind in ("url", "domain", "sha256", "near"):
        connection.execute(f"CREATE TEMP TABLE asked_{kind} (value VARCHAR, distance INTEGER)")
        rows = [[one.value, one.distance] for one in requests if one.kind == kind]
        if rows:
            connection.executemany(f"INSERT INTO asked_{kind} VALUES (?, ?)", rows)


def _matches(connection: duckdb.DuckDBPyConnection) -> list[Match]:
    rows = Asker(connection)(_FOUND)
    captions = dict(connection.execute(_CAPTIONS).fetchall())
    found = []
    for row in rows:
        matched_by, bits, said = row.pop("matched_by"), row.pop("bits"), row.pop("said")
        texts = [*said, *captions.get(row["sample_id"], []), *captions.get(row["image_sha256"], [])]
        found.append(Match(matched_by, bits, row, tuple(fingerprints(texts))))
    return found
