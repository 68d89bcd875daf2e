"""Duplicate pictures: the same bytes, and nearly the same by perceptual hash, within a partition and across all others.

Near pairs are found by bands (pigeonhole): two 64-bit hashes that differ in at most d bits agree in at least one of d + 1
bands, so a join on bands finds every pair, and nothing is left to chance. DuckDB does it over the Parquet files, with a memory
limit and the rest on disk. Each partition's pairs are kept; groups are the connected components over all of them, named by
their smallest sample_id, so it does not matter which partition came first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import duckdb

from veclip_pipelines import stages
from veclip_pipelines.media.near_hashes import banded
from veclip_pipelines.schemas.crawl_schemas import DUPLICATE_PAIRS, DUPLICATES, RAW_CRAWL
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.tables.commit import files_of, partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile, find_file, write_file
from veclip_pipelines.tables.query import Asker, connect
from veclip_pipelines.tables.warehouse import Warehouse

CODE_VERSION = stages.DUPLICATES.code_version
#: What DuckDB may hold in memory; anything more goes to a temporary folder.
MEMORY_LIMIT = "1GB"
_BATCH_ROWS = 50_000


@dataclass(frozen=True)
class DuplicatesResult:
    """What was found: groups, their members, members with exactly the same bytes as another, and partitions searched in this run."""

    groups: int
    members: int
    exact: int
    partitions_paired: int
    partitions_known: int
    delta_version: int
    changed: bool


def crawl_files(warehouse: Warehouse) -> dict[str, list[str]]:
    """Data files of raw_crawl by crawl partition. A data file never changes, so their names together identify a version of it."""
    found: dict[str, list[str]] = {}
    for file in files_of(warehouse.open(RAW_CRAWL), {}):
        found.setdefault(file.partition["crawl_partition"], []).append(file.path)
    return found


def duplicates_inputs(warehouse: Warehouse, distance: int) -> dict[str, str]:
    """Versions of everything that the groups are made from."""
    versions = {f"raw_crawl/{key}": _hash(files) for key, files in sorted(crawl_files(warehouse).items())}
    return {**versions, "distance": str(distance), "code": CODE_VERSION}


def find_duplicates(warehouse: Warehouse, distance: int, *, properties: Mapping[str, str]) -> DuplicatesResult:
    """Pairs for the partitions that changed since, then the groups over all: one commit per partition, and one for the groups.

    Args:
        distance: hashes that differ in at most this many of their 64 bits are near.
    """
    present = crawl_files(warehouse)
    pairs = warehouse.open(DUPLICATE_PAIRS)
    held = {file.partition["crawl_partition"]: file.path for file in files_of(pairs, {})}
    wanted = {key: f"pairs-{_hash([CODE_VERSION, str(distance), *files])}" for key, files in present.items()}
    todo = [key for key, name in sorted(wanted.items()) if not held.get(key, "").endswith(f"/{name}.parquet")]
    for key in [*todo, *sorted(set(held) - set(present))]:
        _pair_partition(warehouse, key, wanted.get(key), distance, properties)
    file = _write_groups(warehouse, distance)
    expected = partition_files(warehouse.open(DUPLICATES), {})
    commit = replace_partition(warehouse, DUPLICATES, {}, [file], expected=expected, properties=properties)
    with connect(warehouse, [DUPLICATES.name]) as connection:
        groups, members, exact = Asker(connection).row(
            "SELECT count(DISTINCT group_id), count(*), count(*) FILTER (sample_id <> exact_id) FROM duplicates"
        )
    known = len(present) - len(todo)
    return DuplicatesResult(groups, members, exact, len(todo), known, commit.version, commit.written)


def _pair_partition(
    warehouse: Warehouse, key: str, name: str | None, distance: int, properties: Mapping[str, str]
) -> None:
    """Replaces the pairs of one partition; removes them if the partition is gone."""
    partition = {"crawl_partition": key}
    expected = partition_files(warehouse.open(DUPLICATE_PAIRS), partition)
    files = [] if name is None else [_write_pairs(warehouse, partition, name, distance)]
    replace_partition(warehouse, DUPLICATE_PAIRS, partition, files, expected=expected, properties=properties)


def _write_pairs(warehouse: Warehouse, partition: Mapping[str, str], name: str, distance: int) -> DataFile:
    if found := find_file(warehouse, DUPLICATE_PAIRS, partition, name):
        return found
    with _connection(warehouse, [RAW_CRAWL.name]) as connection:
        hashes = f"SELECT DISTINCT ('0x' || phash)::UBIGINT AS hash FROM raw_crawl WHERE outcome = '{KEPT}'"  # noqa: S608
        connection.execute(f"CREATE TEMP TABLE theirs AS {hashes}")
        connection.execute(
            f"CREATE TEMP TABLE ours AS {hashes} AND crawl_partition = ?", [partition["crawl_partition"]]
        )
        found = connection.sql(
            f"SELECT printf('%016x', least(a, b)) AS low, printf('%016x', greatest(a, b)) AS high, "  # noqa: S608
            f"bit_count(xor(a, b))::INTEGER AS distance FROM (SELECT DISTINCT o.hash AS a, t.hash AS b "
            f"FROM ({banded('ours', distance)}) o JOIN ({banded('theirs', distance)}) t USING (band, bits) "
            f"WHERE o.hash <> t.hash AND bit_count(xor(o.hash, t.hash)) <= {distance}) GROUP BY ALL ORDER BY low, high"
        )
        reader = found.to_arrow_reader(_BATCH_ROWS).cast(DUPLICATE_PAIRS.file_schema)
        return write_file(warehouse, DUPLICATE_PAIRS, partition, name, reader)


def _write_groups(warehouse: Warehouse, distance: int) -> DataFile:
    """Groups over all partitions, as one file that is named after everything it is made from."""
    name = f"groups-{_hash([json.dumps(duplicates_inputs(warehouse, distance), sort_keys=True)])}"
    if found := find_file(warehouse, DUPLICATES, {}, name):
        return found
    with _connection(warehouse, [RAW_CRAWL.name, DUPLICATE_PAIRS.name]) as connection:
        kept = f"outcome = '{KEPT}' AND phash IS NOT NULL"
        connection.execute(
            "CREATE TEMP TABLE samples AS SELECT sample_id, any_value(image_sha256) AS image_sha256, any_value(phash) AS phash "  # noqa: S608
            f"FROM raw_crawl WHERE {kept} GROUP BY sample_id"
        )
        connection.execute(
            "CREATE TEMP TABLE nodes AS SELECT phash, min(sample_id) AS first, count(*) AS n FROM samples GROUP BY phash"
        )
        connection.execute(
            "CREATE TEMP TABLE edges AS SELECT DISTINCT low AS a, high AS b FROM duplicate_pairs "
            "WHERE low IN (SELECT phash FROM nodes) AND high IN (SELECT phash FROM nodes)"
        )
        connection.execute("INSERT INTO edges SELECT b, a FROM edges")
        _label(connection)
        found = connection.sql(
            "WITH grouped AS (SELECT s.*, min(s.sample_id) OVER (PARTITION BY l.label) AS group_id, "
            "count(*) OVER (PARTITION BY l.label) AS size, min(s.sample_id) OVER (PARTITION BY s.image_sha256) AS exact_id "
            "FROM samples s JOIN labels l USING (phash)) "
            "SELECT g.group_id, g.sample_id, g.exact_id, g.image_sha256, g.phash, "
            "bit_count(xor(('0x' || g.phash)::UBIGINT, ('0x' || r.phash)::UBIGINT))::INTEGER AS distance "
            "FROM grouped g JOIN samples r ON r.sample_id = g.group_id WHERE g.size > 1 ORDER BY g.group_id, g.sample_id"
        )
        reader = found.to_arrow_reader(_BATCH_ROWS).cast(DUPLICATES.file_schema)
        return write_file(warehouse, DUPLICATES, {}, name, reader)


def _label(connection: duckdb.DuckDBPyConnection) -> None:
    """Connected components over hashes: each takes its neighbours' smallest label, then that label's own label, until none changes.

    Only hashes with a neighbour or with several samples are considered: a crawl has few of them.
    """
    connection.execute(
        "CREATE TEMP TABLE labels AS SELECT phash, first AS label FROM nodes WHERE n > 1 OR phash IN (SELECT a FROM edges)"
    )
    while True:
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE nearer AS SELECT l.phash, least(l.label, min(coalesce(o.label, l.label))) AS label "
            "FROM labels l LEFT JOIN edges e ON e.a = l.phash LEFT JOIN labels o ON o.phash = e.b GROUP BY l.phash, l.label"
        )
        # A label is the first sample of some hash: that hash's own current label is closer still to the final one.
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE next AS SELECT n.phash, least(n.label, coalesce(j.label, n.label)) AS label "
            "FROM nearer n LEFT JOIN (nodes d JOIN nearer j USING (phash)) ON d.first = n.label"
        )
        (changed,) = Asker(connection).row(
            "SELECT count(*) FROM labels l JOIN next n USING (phash) WHERE l.label <> n.label"
        )
        connection.execute("CREATE OR REPLACE TEMP TABLE labels AS SELECT * FROM next")
        if not changed:
            return


@contextmanager
def _connection(warehouse: Warehouse, tables: list[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    with (
        TemporaryDirectory(prefix="veclip-duplicates-") as scratch,
        connect(warehouse, tables, alone=True) as connection,
    ):
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        connection.execute("SET temp_directory = ?", [scratch])
        connection.execute("SET preserve_insertion_order = false")
        yield connection


def _hash(parts: list[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
