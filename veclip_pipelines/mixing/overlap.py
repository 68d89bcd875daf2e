"""Pictures of a training set that are pictures of a benchmark too: a score on them is no score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from veclip_pipelines.media.near_hashes import banded
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.tables.pins import pinned_connection
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class Overlap:
    """How many of a benchmark's pictures the set has: with the very bytes, and nearly (the exact ones among them)."""

    exact: int
    near: int


def benchmark_overlap(
    warehouse: Warehouse, recipe: str, set_version: str, sha256: Sequence[str], phash: Sequence[str], distance: int
) -> Overlap:
    """Looks for a benchmark's pictures among a set's.

    Args:
        sha256, phash: of each of the benchmark's pictures.
        distance: hashes that differ in at most so many of 64 bits are near.
    """
    with pinned_connection(warehouse, recipe, set_version, ["raw_crawl"], also=["training_sets"]) as connection:
        connection.register("asked", pa.table({"sha256": list(sha256), "phash": list(phash)}))
        connection.execute("CREATE TEMP TABLE theirs AS SELECT sha256, ('0x' || phash)::UBIGINT AS hash FROM asked")
        connection.execute(
            "CREATE TEMP TABLE ours AS SELECT DISTINCT r.image_sha256 AS sha256, ('0x' || r.phash)::UBIGINT AS hash "  # noqa: S608
            "FROM training_sets t JOIN raw_crawl r ON r.sample_id = t.sample_id AND r.crawl_partition = t.crawl_partition "
            f"WHERE t.recipe = ? AND t.set_version = ? AND t.outcome = '{KEPT}' AND r.phash IS NOT NULL",
            [recipe, set_version],
        )
        exact = connection.execute("SELECT count(*) FROM theirs WHERE sha256 IN (SELECT sha256 FROM ours)").fetchall()
        near = connection.execute(
            "SELECT count(*) FROM theirs WHERE sha256 IN (SELECT sha256 FROM ours) OR hash IN "  # noqa: S608 - numbers of ours
            f"(SELECT t.hash FROM ({banded('theirs', distance)}) t JOIN ({banded('ours', distance)}) o USING (band, bits) "
            f"WHERE bit_count(xor(t.hash, o.hash)) <= {int(distance)})"
        ).fetchall()
    return Overlap(exact[0][0], near[0][0])
