"""An audit of a sound warehouse finds nothing, and each fault is found by the check meant for it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from lineage_story import CHECKPOINT, EYE, HAND, MLFLOW_RUN, add, put, tell

from veclip_pipelines.audit.auditing import CHECKS, audit
from veclip_pipelines.audit.record_checks import Materialised
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, RAW_CRAWL, VECAP
from veclip_pipelines.schemas.training_schemas import BENCHMARK_SCORES
from veclip_pipelines.stages import STAGES
from veclip_pipelines.tables.provenance import Provenance, record
from veclip_pipelines.tables.query import content_version, read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.execution import carry_out
from veclip_pipelines.takedown.register import register
from veclip_pipelines.takedown.requests import read_requests

WEIGHTS = b"weights"
URL = "https://www.pictures.example:443/2.png"


def note(
    warehouse: Warehouse, asset: str, kept: int, rejected: int, rows_in: int | None = None, engine: str = ""
) -> None:
    record(
        warehouse,
        Provenance(
            asset=asset, partition="crawl-1", run_id=f"run-{asset}-{kept}-{rejected}", inputs={"engine": engine} if engine else {},
            data_version="d", delta_version=1, files=[], rows_in=kept + rejected if rows_in is None else rows_in, rows_kept=kept,
            rows_rejected=rejected, seconds=1.0, code_version="1", launched_by="someone",
        ),
    )  # fmt: skip


@pytest.fixture
def sound(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> Settings:
    tell(tmp_path, settings, warehouse, weights_sha256=hashlib.sha256(WEIGHTS).hexdigest())
    (settings.checkpoints / CHECKPOINT / "model.safetensors").write_bytes(WEIGHTS)
    note(warehouse, "raw_crawl", 7, 1)
    note(warehouse, "concept_captions", 6, 0, engine=EYE)
    note(warehouse, "vecap", 7, 0, engine=HAND)
    return settings


def found(warehouse: Warehouse, **options: int) -> set[tuple[str, str]]:
    return {(item.check, item.what) for item in audit(warehouse, None, **options).findings}


def test_a_sound_warehouse(sound: Settings, warehouse: Warehouse) -> None:
    report = audit(warehouse, None, sample=100)
    assert report.findings == []
    expected = {
        "counts": 3, "captions": 13, "engines": 3, "pins": 1, "checkpoints": 1, "scores": 1, "takedowns": 0, "sample": 7,
    }  # fmt: skip
    assert {name: report.checked[name] for name in expected} == expected
    assert report.checked.keys() == CHECKS.keys() - {"materialisations"}
    assert report.checked["files"] > 8
    assert report.checked["orphans"] > 8


def lost_rows(settings: Settings, warehouse: Warehouse) -> None:
    note(warehouse, "raw_crawl", 6, 1, rows_in=9)


def orphan_captions(settings: Settings, warehouse: Warehouse) -> None:
    rows = read_rows(warehouse, "SELECT * FROM concept_captions", tables=["concept_captions"])
    texts: list[dict[str, object]] = [
        {"image_sha256": row["image_sha256"], "text": row["text"], "input_hash": "h", "outcome": "kept"} for row in rows
    ]
    stray: dict[str, object] = {"image_sha256": "0" * 64, "text": "t", "input_hash": "h", "outcome": "kept"}
    put(warehouse, CONCEPT_CAPTIONS, EYE, [*texts, stray], "g")


def unknown_engine(settings: Settings, warehouse: Warehouse) -> None:
    sample = read_rows(warehouse, "SELECT sample_id FROM vecap LIMIT 1", tables=["vecap"])[0]["sample_id"]
    put(warehouse, VECAP, "1" * 32, [{"sample_id": sample, "text": "t", "input_hash": "h", "outcome": "kept"}])


def lost_pin(settings: Settings, warehouse: Warehouse) -> None:
    pinned = json.loads(read_rows(warehouse, "SELECT files FROM set_pins", tables=["set_pins"])[0]["files"])
    Path(warehouse.path(VECAP, pinned["vecap"]["files"][0])).unlink()


def tampered_pin(settings: Settings, warehouse: Warehouse) -> None:
    """A text is written over, in place, beside Delta."""
    pinned = json.loads(read_rows(warehouse, "SELECT files FROM set_pins", tables=["set_pins"])[0]["files"])
    path = warehouse.path(VECAP, pinned["vecap"]["files"][0])
    table = pq.read_table(path, partitioning=None)
    texts = ["another text", *table["text"].to_pylist()[1:]]
    pq.write_table(table.set_column(table.schema.get_field_index("text"), table.schema.field("text"), [texts]), path)


def other_weights(settings: Settings, warehouse: Warehouse) -> None:
    (settings.checkpoints / CHECKPOINT / "model.safetensors").write_bytes(b"others")


def lost_weights(settings: Settings, warehouse: Warehouse) -> None:
    (settings.checkpoints / CHECKPOINT / "model.safetensors").unlink()


def score_of_nothing(settings: Settings, warehouse: Warehouse) -> None:
    add(
        warehouse, BENCHMARK_SCORES, checkpoint_id="nobody", recipe="r", benchmark="b", benchmark_sha256="b" * 64, metric="acc@1",
        value=0.25, queries=4, code_version="1", scored_at=datetime.now(UTC),
    )  # fmt: skip


def changed_shard(settings: Settings, warehouse: Warehouse) -> None:
    row = read_rows(warehouse, "SELECT * FROM raw_crawl WHERE outcome = 'kept' LIMIT 1", tables=["raw_crawl"])[0]
    with Path(row["shard_uri"]).open("r+b") as shard:
        shard.seek(row["image_offset"])
        shard.write(b"\0" * 8)


@pytest.mark.parametrize(
    ("fault", "check", "what"),
    [
        (lost_rows, "counts", "9 rows in, 6 kept and 1 rejected"),
        (lost_rows, "counts", "the table holds 7 rows kept and 1 rejected; the materialisation noted 6 and 1"),
        (orphan_captions, "captions", "1 rows are about what raw_crawl does not hold; is the partition stale?"),
        (unknown_engine, "engines", f"1 rows name engine {'1' * 32}, which engines lacks"),
        (lost_pin, "pins", "is gone: the set cannot be made again"),
        (lost_pin, "files", "the table names it, and it is not there"),
        (tampered_pin, "pins", "made again it has content"),
        (tampered_pin, "files", "bytes, and had"),
        (other_weights, "checkpoints", "the weights have SHA-256"),
        (lost_weights, "checkpoints", "model.safetensors is gone"),
        (score_of_nothing, "scores", "1 scores of checkpoint nobody, which checkpoints lacks"),
        (changed_shard, "sample", "the bytes it points to have SHA-256"),
    ],
)
def test_faults_are_found(
    sound: Settings, warehouse: Warehouse, fault: Callable[[Settings, Warehouse], None], check: str, what: str
) -> None:
    fault(sound, warehouse)
    assert any(item[0] == check and what in item[1] for item in found(warehouse, sample=100))


def test_a_checkpoint_and_its_run(tmp_path: Path, sound: Settings, warehouse: Warehouse) -> None:
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts"))
    (finding,) = audit(warehouse, tracking).findings
    assert f"MLflow has no run {MLFLOW_RUN}" in finding.what


def old(path: Path) -> Path:
    then = time.time() - 2 * 86400
    os.utime(path, (then, then))
    return path


def test_what_nothing_names_is_found_after_a_day(tmp_path: Path, sound: Settings, warehouse: Warehouse) -> None:
    folder = Path(warehouse.path(VECAP, f"crawl_partition=crawl-1/engine_id={HAND}"))
    stray, first_cut, tar = folder / "batch-9.parquet", folder / "f.0123.parquet", tmp_path / "shards" / "a" / "x.tar"
    tar.parent.mkdir(parents=True)
    for path in (stray, first_cut, tar):
        path.write_bytes(b"of a run that was killed")
    shards = str(tmp_path / "shards")
    assert [one for one in audit(warehouse, None, shards=shards).findings if one.check == "orphans"] == []
    for path in (stray, first_cut, tar):
        old(path)
    found_ = [one.where for one in audit(warehouse, None, shards=shards).findings if one.check == "orphans"]
    # What a shard's file was before its repeats were marked has the name of that which took its place.
    assert found_ == [f"vecap/crawl_partition=crawl-1/engine_id={HAND}/batch-9.parquet", str(tar)]


def test_a_takedown_that_only_hides_is_not_finished(sound: Settings, warehouse: Warehouse) -> None:
    takedown, _ = register(warehouse, read_requests([URL]), by="someone", reason="asked", keep_days=0)
    told = [one for one in audit(warehouse, None).findings if one.check == "takedowns"]
    assert told[0].what == "it is not finished: veclip takedown finish"
    assert any("1 rows that were taken down are hidden and still there" in one.what for one in told)
    carry_out(warehouse, sound, takedown.takedown_id, tracking=None, run_id="run-1")
    assert [one for one in audit(warehouse, None).findings if one.check == "takedowns"] == []


def test_captions_of_an_engine_that_another_followed_may_be_of_an_earlier_crawl(
    sound: Settings, warehouse: Warehouse
) -> None:
    unknown: dict[str, object] = {"sample_id": "0" * 32, "text": "t", "input_hash": "h", "outcome": "kept"}
    put(warehouse, VECAP, "1" * 32, [unknown])
    note(warehouse, "vecap", 1, 0, engine="1" * 32)
    assert "captions" in {check for check, _ in found(warehouse)}
    note(warehouse, "vecap", 7, 0, engine=HAND)
    note(warehouse, "raw_crawl", 7, 1)
    record_again(warehouse, HAND)
    assert "captions" not in {check for check, _ in found(warehouse)}


def record_again(warehouse: Warehouse, engine: str) -> None:
    """The captions of an engine, made of another raw_crawl than those of before."""
    record(
        warehouse,
        Provenance(
            asset="vecap", partition="crawl-1", run_id="again", inputs={"engine": engine, "raw_crawl/crawl-1": "d"}, data_version="e",
            delta_version=1, files=[], rows_in=7, rows_kept=7, rows_rejected=0, seconds=1.0, code_version="1", launched_by="someone",
        ),
    )  # fmt: skip


def test_dagster_the_provenance_and_the_tables_are_held_against_one_another(
    sound: Settings, warehouse: Warehouse
) -> None:
    def told(**changed: Any) -> set[str]:
        known = [Materialised("raw_crawl", "crawl-1", "d", 7), Materialised("concept_captions", "crawl-1", "d", 6)]
        known = [replace(one, **changed) if one.asset == "raw_crawl" else one for one in known]
        report = audit(warehouse, None, materialised=[*known, Materialised("vecap", "crawl-1", "d", None)])
        return {one.what for one in report.findings if one.check == "materialisations"}

    assert told() == set()
    assert told(data_version="x") == {"Dagster's data version is x, the provenance's d"}
    assert told(rows_kept=3) == {"Dagster counts 3 rows kept, the provenance 7"}
    assert told(partition="crawl-9") == {
        "Dagster has a materialisation that the provenance lacks", "the provenance has a materialisation that Dagster lacks",
    }  # fmt: skip
    # Noted by the code of today, the table must hold what was noted.
    present, _ = content_version(warehouse, RAW_CRAWL, {"crawl_partition": "crawl-1"})
    for version, expected in (
        ("d", {f"the table's content is {present}, and the newest materialisation noted d"}),
        (present, set()),
    ):
        record(
            warehouse,
            Provenance(
                asset="raw_crawl", partition="crawl-1", run_id=f"now-{version}", inputs={}, data_version=version, delta_version=1, files=[],
                rows_in=8, rows_kept=7, rows_rejected=1, seconds=1.0, code_version=STAGES["raw_crawl"].code_version, launched_by="someone",
            ),
        )  # fmt: skip
        assert told(data_version=version) == expected


def test_names_of_columns(warehouse: Warehouse) -> None:
    """An empty warehouse is sound."""
    assert audit(warehouse, None, sample=5).findings == []
    assert warehouse.open(RAW_CRAWL) is None
