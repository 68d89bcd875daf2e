"""A trace by sample, SHA-256, URL and domain over a generated warehouse, against reading the column that is asked for.

Every sample has a concept caption and a VeCap, three of ten are in a training set.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time

import duckdb
import pyarrow as pa

from bench.outcome import Result
from veclip_pipelines.lineage.questions import Kind, Question
from veclip_pipelines.lineage.trace import trace
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, RAW_CRAWL, TRAINING_SETS, VECAP
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import write_file
from veclip_pipelines.tables.query import connect
from veclip_pipelines.tables.warehouse import Warehouse

PARTITION, ENGINE = 1_000_000, "e" * 32
_SET = {"recipe": "mix", "set_version": "5" * 16}
_TAKEN = 3  # rows of ten that the training set takes
_HOSTS, _ASKED = 20_000, 5
_HOST = f"'site' || (hash(n) % {_HOSTS}) || '.example'"
_COLUMNS = {
    "raw_crawl": {
        "sample_id": "md5(n::VARCHAR)", "image_sha256": "sha256(n::VARCHAR)",
        "url": f"'https://' || {_HOST} || '/' || md5((n + 7)::VARCHAR) || '.jpg'",
        "url_host": _HOST,
        "page_url": f"'https://' || {_HOST} || '/page/' || n // 5", "page_host": _HOST,
        "alt_text": "'a text of some words, number ' || n",
        "alt_text_raw": "'a text of some words, number ' || n", "source_key": "n::VARCHAR",
        "shard_uri": "'/crawl/' || n // 10000 || '.tar'", "image_offset": "(n % 10000) * 20000", "image_length": "20000",
        "media_type": "'image/jpeg'", "width": "256", "height": "256", "phash": "md5((n + 3)::VARCHAR)[:16]", "language": "'en'",
        "flags": "[]::VARCHAR[]", "outcome": "'kept'",
    },
    "concept_captions": {
        "image_sha256": "sha256(n::VARCHAR)", "text": "'seen of ' || n", "input_hash": "md5(n::VARCHAR)", "route": "'engine'",
        "attempts": "1", "outcome": "'kept'",
    },
    "vecap": {
        "sample_id": "md5(n::VARCHAR)", "text": "'fused of ' || n", "input_hash": "md5((n + 1)::VARCHAR)", "route": "'engine'",
        "attempts": "1", "outcome": "'kept'", "concept_engine_id": f"'{ENGINE}'",
    },
    "training_sets": {
        "sample_id": "md5(n::VARCHAR)", "image_sha256": "sha256(n::VARCHAR)",
        "crawl_partition": f"'p' || lpad((n // {PARTITION})::VARCHAR, 5, '0')",
        "texts": "[{'source': 'alt', 'engine_id': NULL::VARCHAR, 'text': 'a text of some words, number ' || n}, "
        f"{{'source': 'vecap', 'engine_id': '{ENGINE}', 'text': 'fused of ' || n}}]",
        "probabilities": "[0.5, 0.5]", "part": "'main'", "weight": "1.0", "outcome": "'kept'",
    },
}  # fmt: skip


def run(count: int = 100_000_000) -> tuple[Result, dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="veclip-bench-") as scratch:
        warehouse = Warehouse.at(scratch)
        for number, start in enumerate(range(0, count, PARTITION)):
            add_partition(warehouse, f"p{number:05d}", start, min(PARTITION, count - start))
        add_training_set(warehouse, count)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = {
            kind: _seconds(warehouse, kind, count) for kind in (Kind.SAMPLE, Kind.PICTURE, Kind.URL, Kind.DOMAIN)
        }
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        naive = _naive(warehouse, count)
    slowest = max(seconds[kind] for kind in (Kind.SAMPLE, Kind.PICTURE, Kind.URL))
    details = {
        **{f"seconds_{kind.value}": f"{value:.2f}" for kind, value in seconds.items()},
        "seconds_reading_one_column": f"{naive:.2f}",
        "peak_memory_mib": f"{peak / 1024:.0f} (before the traces {before / 1024:.0f})",
    }
    peer = "reading raw_crawl's sample_id alone"
    return Result("trace", "traces a second", count, 1 / slowest, 1 / naive, peer, naive / slowest), details


def add_partition(warehouse: Warehouse, key: str, start: int, count: int) -> None:
    """Rows ``start`` and on as a crawl partition, each with both captions."""
    for spec in (RAW_CRAWL, CONCEPT_CAPTIONS, VECAP):
        partition = {"crawl_partition": key, "engine_id": ENGINE}
        partition = {column: partition[column] for column in spec.partition_by}
        file = write_file(warehouse, spec, partition, "f", generated_rows(spec, start, count))
        kept = partition_files(warehouse.open(spec), partition)
        replace_partition(warehouse, spec, partition, [file], expected=kept, properties={})


def add_training_set(warehouse: Warehouse, count: int) -> None:
    """Three of ten samples, with both of their texts."""
    files = [
        write_file(warehouse, TRAINING_SETS, _SET, f"f{start}", generated_rows(TRAINING_SETS, start, min(PARTITION, count - start), _TAKEN))
        for start in range(0, count, PARTITION)
    ]  # fmt: skip
    kept = partition_files(warehouse.open(TRAINING_SETS), _SET)
    replace_partition(warehouse, TRAINING_SETS, _SET, files, expected=kept, properties={})


def generated_rows(spec: TableSpec, start: int, count: int, of_ten: int = 10) -> pa.Table:
    made = _COLUMNS[spec.name]
    columns = ", ".join(f"{sql} AS {name}" for name, sql in made.items())
    with duckdb.connect() as connection:
        query = f"SELECT {columns} FROM (SELECT {start} + range AS n FROM range({count}) WHERE range % 10 < {of_ten})"  # noqa: S608
        table = connection.sql(query).to_arrow_table()
    arrays = [
        table[field.name].cast(field.type) if field.name in made else pa.nulls(len(table), field.type)
        for field in spec.file_schema
    ]
    return pa.table(arrays, schema=spec.file_schema)


def _seconds(warehouse: Warehouse, kind: Kind, count: int) -> float:
    """The median of traces of different rows, each found."""
    taken = []
    for number in range(_ASKED):
        row = (2 * number + 1) * count // (2 * _ASKED)
        value = _value(kind, row)
        started = time.perf_counter()
        found = trace(warehouse, Question(kind, value))
        taken.append(time.perf_counter() - started)
        assert found.samples[0]["vecap"], "a trace that found nothing is fast"
        assert kind is not Kind.DOMAIN or found.sets, "and so is one to no training set"
    return statistics.median(taken)


def _value(kind: Kind, row: int) -> str:
    column = {Kind.SAMPLE: "sample_id", Kind.PICTURE: "image_sha256", Kind.URL: "url", Kind.DOMAIN: "url_host"}[kind]
    with duckdb.connect() as connection:
        sql = f"SELECT {_COLUMNS['raw_crawl'][column]} FROM (SELECT {row} AS n)"  # noqa: S608
        return str(connection.execute(sql).fetchall()[0][0])


def _naive(warehouse: Warehouse, count: int) -> float:
    """One column of one table, read to the end: of what it contains nothing is pushed down to the filters."""
    with connect(warehouse, ["raw_crawl"]) as connection:
        started = time.perf_counter()
        found = connection.execute(
            "SELECT count(*) FROM raw_crawl WHERE contains(sample_id, $v)", {"v": _value(Kind.SAMPLE, count // 2)}
        ).fetchall()
        assert found == [(1,)]
        return time.perf_counter() - started
