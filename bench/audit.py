"""An audit of a generated warehouse, sound in all that it checks, against reading its rows once to count them by a query of one's own.

A third each of raw_crawl, concept captions and VeCap, in partitions of 10,000 rows; one training set of all samples, which is
made again.
"""

from __future__ import annotations

import resource
import tempfile
import time
from datetime import UTC, datetime

from bench.outcome import Result
from bench.trace import ENGINE, add_partition
from veclip_pipelines.audit.audit_runs import CODE, Materialised
from veclip_pipelines.audit.auditing import audit
from veclip_pipelines.config.recipe import Recipe, TextSource
from veclip_pipelines.mixing.training_set import ResolvedText, input_versions, make_training_set, resolve_mix
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, ENGINES, RAW_CRAWL, VECAP
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.commit import append_new, files_of
from veclip_pipelines.tables.provenance import Provenance, record
from veclip_pipelines.tables.query import connect, content_version
from veclip_pipelines.tables.warehouse import Warehouse

_TABLES = (RAW_CRAWL, CONCEPT_CAPTIONS, VECAP)
PARTITION = 10_000


def run(count: int = 10_000_000) -> tuple[Result, dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        warehouse = Warehouse.at(scratch)
        told = _make(warehouse, count)
        naive = _naive(warehouse)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, checked = {}, {}
        for rebuild in (False, True):
            started = time.perf_counter()
            report = audit(warehouse, None, rebuild=rebuild, materialised=told)
            seconds[rebuild] = time.perf_counter() - started
            assert report.findings == [], report.findings[:3]
            checked = report.checked
        half, half_told = Warehouse.at(f"{scratch}/half"), _make(Warehouse.at(f"{scratch}/half"), count // 2)
        started = time.perf_counter()
        audit(half, None, materialised=half_told)
        of_half = time.perf_counter() - started
    details = {
        "rows": str(count),
        "seconds": f"{seconds[True]:.1f}",
        "seconds_without_making_the_set_again": f"{seconds[False]:.1f}",
        "seconds_of_half_the_rows": f"{of_half:.1f}",
        "looked_at": ", ".join(f"{name} {number}" for name, number in checked.items()),
        "peak_memory_mib": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} (before {before / 1024:.0f})",
    }
    ours = count / seconds[True]
    peer = "hashing every row of the tables once"
    return Result("audit", "rows a second", count, ours, count / naive, peer, naive / seconds[True]), details


def _make(warehouse: Warehouse, count: int) -> list[Materialised]:
    """A warehouse of so many rows, and what Dagster would know of it."""
    third = count // 3
    told = []
    for number, start in enumerate(range(0, third, PARTITION)):
        key = f"p{number:05d}"
        add_partition(warehouse, key, start, min(PARTITION, third - start))
        told += [_note(warehouse, spec, key) for spec in _TABLES]
    append_new(
        warehouse, ENGINES,
        [{"engine_id": ENGINE, "profile": "e", "kind": "k", "model": "m", "decoding": "{}", "code_version": "1", "library_versions": "{}",
          "first_used_at": datetime.now(UTC)}],
        properties={},
    )  # fmt: skip
    recipe = Recipe(name="r", description="of a benchmark", texts=(TextSource(source="alt_text", probability=1.0),))
    texts = [
        ResolvedText(source="alt_text", probability=0.5),
        ResolvedText(source="vecap", probability=0.5, engine_id=ENGINE, profile="e"),
    ]
    mix = resolve_mix(warehouse, recipe, {"main": texts})
    make_training_set(warehouse, mix, input_versions(warehouse, mix), properties={})
    return told


def _note(warehouse: Warehouse, spec: TableSpec, key: str) -> Materialised:
    asset, inputs = spec.name, {} if spec is RAW_CRAWL else {"engine": ENGINE}
    partition = {"crawl_partition": key, "engine_id": ENGINE}
    partition = {column: partition[column] for column in spec.partition_by}
    version, rows = content_version(warehouse, spec, partition)
    files = files_of(warehouse.open(spec), partition)
    record(
        warehouse,
        Provenance(
            asset=asset, partition=key, run_id=f"{asset}-{key}", inputs=inputs, data_version=version, delta_version=1, files=files,
            rows_in=rows, rows_kept=rows, rows_rejected=0, seconds=1.0, code_version=CODE[asset], launched_by="bench",
        ),
    )  # fmt: skip
    return Materialised(asset, key, version, rows)


def _naive(warehouse: Warehouse) -> float:
    """What anybody must do who wants to know whether the rows are those of before: hash each once."""
    started = time.perf_counter()
    with connect(warehouse, [spec.name for spec in _TABLES]) as connection:
        for spec in _TABLES:
            columns = ", ".join(f'"{name}"' for name in spec.schema.names)
            sql = f"SELECT bit_xor(md5_number(to_json(row({columns}))::VARCHAR)) FROM {spec.name}"  # noqa: S608
            connection.execute(sql).fetchall()
    return time.perf_counter() - started
