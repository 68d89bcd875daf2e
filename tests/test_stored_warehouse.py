"""A warehouse written by the version before the second design of the house is read correctly.

It was made by that version's ``tell`` and ``tell_provenance`` of lineage_story, and packed unchanged.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from lineage_story import CHECKPOINT, EYE, HAND

from veclip_pipelines.audit.auditing import audit
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.lineage.graph import find_subject, lineage_graph
from veclip_pipelines.lineage.questions import understand
from veclip_pipelines.lineage.trace import trace
from veclip_pipelines.planning.partition_history import earlier_contents
from veclip_pipelines.stages import STAGES, tables
from veclip_pipelines.tables.provenance import Recorded, materialisations
from veclip_pipelines.tables.query import content_version, read_rows
from veclip_pipelines.tables.warehouse import Warehouse

STORED = Path(__file__).parent / "stored" / "warehouse-0.1.tar.gz"


@pytest.fixture
def stored(settings: Settings) -> Warehouse:
    settings.home.mkdir(parents=True, exist_ok=True)
    with tarfile.open(STORED) as packed:
        packed.extractall(settings.home, filter="data")
    return Warehouse.at(settings.warehouse)


def test_every_table_opens_with_its_rows(stored: Warehouse) -> None:
    counts = {name: read_rows(stored, f"SELECT count(*) AS n FROM {name}", tables=[name])[0]["n"] for name in tables()}
    assert {name: count for name, count in counts.items() if count} == {
        "benchmark_scores": 1, "checkpoints": 1, "concept_captions": 6, "crawl_drops": 1, "duplicate_pairs": 1, "duplicates": 6,
        "engines": 2, "provenance": 6, "raw_crawl": 8, "set_pins": 1, "training_sets": 7, "vecap": 7,
    }  # fmt: skip


def test_its_history_is_read_as_it_was_written(stored: Warehouse) -> None:
    newest = {one.asset: one for one in materialisations(stored, newest="partition")}
    assert set(newest) == {name for name in STAGES if name != "duplicates"}
    for name in ("raw_crawl", "concept_captions", "vecap"):
        part = newest[name].part
        assert part is not None
        assert content_version(stored, STAGES[name].table, part)[0] == newest[name].data_version
    assert newest["concept_captions"].engine == EYE
    assert Recorded.of(stored, ["crawl-1"]).is_current("vecap", "crawl-1", newest["vecap"].inputs)
    assert [one.rows_kept for one in earlier_contents(stored, "crawl-1")] == [7]


def test_it_is_audited_and_traced(stored: Warehouse) -> None:
    # Its weights were not packed.
    assert [one.check for one in audit(stored, None).findings] == ["checkpoints"]
    graph = lineage_graph(stored, find_subject(stored, "r"))
    assert [one.asset for one in graph.made] == [name for name in STAGES if name != "duplicates"]
    found = trace(stored, understand(stored, CHECKPOINT))
    assert {row["engine_id"] for row in found.engines} == {EYE, HAND}
