"""A stage is declared once: two more, added only to STAGES, are picked up by everything that goes through the stages."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest
from lineage_story import EYE, add, tell, tell_provenance

from veclip_pipelines import stages
from veclip_pipelines.audit.auditing import audit
from veclip_pipelines.commands import backfill
from veclip_pipelines.config.recipe import TextSourceName
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.lineage.graph import Subject, lineage_graph
from veclip_pipelines.lineage.questions import understand
from veclip_pipelines.lineage.trace import trace
from veclip_pipelines.lineage.tree import tree_of
from veclip_pipelines.planning.inputs import stage_inputs
from veclip_pipelines.planning.partition_history import retire
from veclip_pipelines.planning.staleness import Staleness
from veclip_pipelines.pruning.files import Retention, prunable_files
from veclip_pipelines.reporting.openlineage_events import events
from veclip_pipelines.schemas.crawl_schemas import CRAWL_DROPS
from veclip_pipelines.schemas.shared_columns import CRAWL_PARTITION, ENGINE_ID, OUTCOME_COLUMNS
from veclip_pipelines.schemas.spec import table_spec, text_column
from veclip_pipelines.serving.lineage_picture import lineage_svg
from veclip_pipelines.stages import STAGES, Stage
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import DataFile, table_of, write_file
from veclip_pipelines.tables.provenance import Provenance, Recorded, record
from veclip_pipelines.tables.query import content_version, read_rows
from veclip_pipelines.tables.warehouse import Warehouse

KEY = "crawl-1"
#: A stage that computes from raw_crawl, by code alone.
SHARPNESS = Stage(
    table_spec(
        "sharpness",
        "how sharp a picture is",
        [text_column("image_sha256", "the picture", required=True), *OUTCOME_COLUMNS, CRAWL_PARTITION],
        partition_by=("crawl_partition",),
        keys=("image_sha256",),
        hidden_by=("image_sha256",),
    ),
    keyed_by=stages.CRAWL_PARTITION,
    upstream=("raw_crawl",),
    code_version="sharpness.1",
    colour="#123456",
    rejects_by="image_sha256",
)
#: A stage of captions of another kind.
MOODS = Stage(
    table_spec(
        "moods",
        "the mood of a picture, by a model",
        [
            text_column("image_sha256", "the picture", required=True),
            *(text_column(name, name) for name in ("text", "engine_text", "route", "finish_reason")),
            (pa.field("faults", pa.list_(pa.string())), "guards that objected"),
            (pa.field("attempts", pa.int32()), "times that the engine was asked"),
            *OUTCOME_COLUMNS,
            CRAWL_PARTITION,
            ENGINE_ID,
        ],
        partition_by=("crawl_partition", "engine_id"),
        keys=("image_sha256",),
        hidden_by=("image_sha256",),
    ),
    keyed_by=stages.CRAWL_PARTITION,
    upstream=("raw_crawl",),
    code_version="moods.1",
    colour="#654321",
    rejects_by="image_sha256",
    describes="image_sha256",
    texts="[text, engine_text]",
    called="mood",
)


@pytest.fixture
def told(tmp_path: Path, settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A crawl with captions and a set, and of both new stages one materialisation."""
    for stage in (SHARPNESS, MOODS):
        monkeypatch.setitem(STAGES, stage.name, stage)
    tell(tmp_path, settings, warehouse)
    tell_provenance(warehouse)
    pictures = read_rows(
        warehouse,
        "SELECT DISTINCT image_sha256 AS sha FROM raw_crawl WHERE outcome = 'kept' ORDER BY 1",
        tables=["raw_crawl"],
    )
    rows: list[dict[str, object]] = [{"image_sha256": row["sha"], "outcome": "kept"} for row in pictures]
    rows[0] |= {"outcome": "rejected", "reason": "too_soft"}
    inputs = stage_inputs(Recorded.of(warehouse, [KEY]), SHARPNESS, KEY)
    make(warehouse, SHARPNESS, rows, inputs)
    moods = [{**row, "text": f"mood of {row['image_sha256']}", "attempts": 1, "route": "engine"} for row in rows]
    raw = content_version(warehouse, STAGES["raw_crawl"].table, {"crawl_partition": KEY})[0]
    make(warehouse, MOODS, moods, {f"raw_crawl/{KEY}": raw, "engine": EYE})
    return warehouse


def make(
    warehouse: Warehouse, stage: Stage, rows: Sequence[Mapping[str, object]], inputs: Mapping[str, str], name: str = "f"
) -> DataFile:
    """Replaces the stage's part of the partition, as its asset would."""
    part = stage.part(KEY, inputs)
    assert part is not None
    file = write_file(warehouse, stage.table, part, name, table_of(stage.table, list(rows)))
    expected = partition_files(warehouse.open(stage.table), part)
    replace_partition(warehouse, stage.table, part, [file], expected=expected, properties={})
    version, count = content_version(warehouse, stage.table, part)
    rejected = sum(row["outcome"] == "rejected" for row in rows)
    record(
        warehouse,
        Provenance(
            asset=stage.name, partition=KEY, run_id=f"run-{stage.name}-{name}", inputs=inputs, data_version=version, delta_version=1,
            files=[file], rows_in=count, rows_kept=count - rejected, rows_rejected=rejected, seconds=2.0, code_version=stage.code_version,
            launched_by="someone",
        ),
    )  # fmt: skip
    return file


def test_the_plan(told: Warehouse, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded.of(told, [KEY])
    assert recorded.is_current("sharpness", KEY, stage_inputs(recorded, SHARPNESS, KEY))
    planning = "veclip_pipelines.planning.staleness"
    monkeypatch.setattr(f"{planning}.raw_crawl_inputs", lambda *_: {"drop": "f", "code": "1"})
    monkeypatch.setattr(
        "veclip_pipelines.planning.staleness.concept_inputs",
        lambda contents, key, engine: _noted(told, "concept_captions"),
    )
    monkeypatch.setattr(f"{planning}.vecap_inputs", lambda *_: _noted(told, "vecap"))
    for kind in ("concept_engine", "fusion_engine", "fused_concepts"):
        monkeypatch.setattr(f"{planning}.{kind}", lambda *_: None)
    # moods has an engine, and says of no profile what it is made from: it is always made anew, and named as stale.
    assert Staleness(settings, told).captions(KEY, "eye", "hand") == ["moods"]
    monkeypatch.setitem(STAGES, "sharpness", Stage(**{**vars(SHARPNESS), "code_version": "sharpness.2"}))
    assert Staleness(settings, told).captions(KEY, "eye", "hand") == ["sharpness", "moods"]


def _noted(warehouse: Warehouse, asset: str) -> dict[str, str]:
    return dict(Recorded.of(warehouse, [KEY]).newest[asset, KEY][0].inputs)


@dataclass(frozen=True)
class _Plan:
    """As the launcher has it: what is stale, and which of the stages a selection names."""

    @property
    def stale(self) -> _Plan:
        return self

    @property
    def backfills(self) -> _Plan:
        return self

    def captions_of(self, keys: Sequence[str], *_: str) -> dict[str, list[str]]:
        return {key: ["vecap", "sharpness"] for key in keys}

    def select(self, selection: str, among: Sequence[str]) -> list[str]:
        return [name for name in among if name in selection.split()]


def test_a_backfill(told: Warehouse) -> None:
    todo = backfill._stale(_Plan(), [KEY], "vecap sharpness", "eye", "hand")  # type: ignore[arg-type]
    assert todo == {"vecap": [KEY], "sharpness": [KEY]}
    found = {one.asset: one for one in backfill._estimates(todo)}
    assert found["sharpness"].measured_on == 1
    assert found["sharpness"].partitions == 1


def test_the_audit(told: Warehouse) -> None:
    def findings() -> set[tuple[str, str]]:
        return {
            (one.check, one.where) for one in audit(told, None).findings if "sharp" in one.where or "moods" in one.where
        }

    assert findings() == set()
    file = make(told, MOODS, [{"image_sha256": "0" * 64, "outcome": "kept"}], {"engine": "unknown"}, "other")
    inputs = stage_inputs(Recorded.of(told, [KEY]), SHARPNESS, KEY)
    lost = make(told, SHARPNESS, [{"image_sha256": "1" * 64, "outcome": "kept"}], inputs, "lost")
    Path(told.path(SHARPNESS.table, lost.path)).unlink()
    assert file.rows == 1
    assert findings() == {
        ("captions", f"moods/{KEY}/unknown"),
        ("engines", "moods.engine_id"),
        ("files", f"sharpness/{lost.path}"),
        ("counts", f"sharpness/{KEY}"),
    }


def test_a_trace_and_its_tree(told: Warehouse) -> None:
    sha = read_rows(told, "SELECT image_sha256 AS sha FROM moods WHERE outcome = 'kept' LIMIT 1", tables=["moods"])[0][
        "sha"
    ]
    found = trace(told, understand(told, sha))
    assert [item["text"] for item in found.samples[0]["moods"]] == [f"mood of {sha}"]
    assert any(engine["engine_id"] == EYE for engine in found.engines)
    assert f"mood 'mood of {sha}'" in str(tree_of(found))
    by_text = trace(told, understand(told, f"mood of {sha}"))
    assert {row["image_sha256"] for row in by_text.samples} == {sha}


def test_the_lineage_of_a_set(told: Warehouse) -> None:
    """Of a set that notes the new stage among its inputs."""
    sharpness = Recorded.of(told, [KEY]).newest["sharpness", KEY][0]
    inputs = {
        **Recorded.of(told, ["r"]).newest["training_sets", "r"][0].inputs,
        f"sharpness/{KEY}": sharpness.data_version,
    }
    record(
        told,
        Provenance(
            asset="training_sets", partition="r", run_id="again", inputs=inputs, data_version="d", delta_version=1, files=[],
            rows_in=1, rows_kept=1, rows_rejected=0, seconds=1.0, code_version="1", launched_by="someone",
        ),
    )  # fmt: skip
    graph = lineage_graph(told, Subject("r", stages.version_of(inputs)))
    names = [one.asset for one in graph.made]
    edges = {(names[left], names[right]) for left, right in graph.edges}
    assert {("raw_crawl", "sharpness"), ("sharpness", "training_sets"), ("vecap", "training_sets")} <= edges
    assert b"sharpness" in lineage_svg(graph)
    assert any("sharpness" in str(event.outputs) for event in events(told, graph)), "without a lineage of its columns"


def test_rejects_pruning_and_a_retired_partition(told: Warehouse, settings: Settings) -> None:
    rejects = read_rows(told, "SELECT * FROM rejects WHERE stage = 'sharpness'")
    assert [(row["partition_key"], row["reason"]) for row in rejects] == [(KEY, "too_soft")]
    inputs = stage_inputs(Recorded.of(told, [KEY]), SHARPNESS, KEY)
    before = told.open(SHARPNESS.table)
    assert before is not None
    (old,) = before.file_uris()
    os.utime(old, (time.time() - 90 * 86_400,) * 2)
    make(told, SHARPNESS, [{"image_sha256": "1" * 64, "outcome": "kept"}], inputs, "newer")
    later = datetime.now(UTC) + timedelta(days=60)
    assert old in {one.place for one in prunable_files(told, settings, Retention(), later) if one.kind == "earlier"}
    add(
        told, CRAWL_DROPS, crawl_partition=KEY, uri="/drop", format="img2dataset", fingerprint="f", shards=1, registered_by="someone",
        registered_at=datetime.now(UTC), state="active",
    )  # fmt: skip
    assert retire(told, KEY, run_id="r", by="someone")["sharpness"] == 1
    assert read_rows(told, "SELECT * FROM moods", tables=["moods"]) == []


def test_a_stage_without_partitions_keeps_rejects_too(
    settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        STAGES, "duplicates", replace(STAGES["duplicates"], table=SHARPNESS.table, rejects_by="image_sha256")
    )
    assert read_rows(warehouse, "SELECT partition_key FROM rejects") == []


def test_the_real_stages_hang_together() -> None:
    # A plan asks for each stage of a crawl partition and of a recipe; for those without partitions it has a question of its own.
    assert stages.names_of(None) == ("duplicates",)
    for stage in STAGES.values():
        assert set(stage.upstream) <= set(STAGES)
        assert list(STAGES).index(stage.name) >= max(
            (list(STAGES).index(name) + 1 for name in stage.upstream), default=0
        )
        assert set(stage.table.partition_by) <= {stage.keyed_by, "engine_id", "set_version"}
        assert {name for name in (stage.rejects_by, stage.describes) if name} <= set(stage.table.schema.names)


def test_recipes_name_the_stages_that_their_texts_are_drawn_from() -> None:
    """And captions that came with the drop, which no stage makes."""
    assert {*get_args(TextSourceName)} == {stage.source for stage in STAGES.values() if stage.source} | {"caption"}
