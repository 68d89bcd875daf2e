"""Each check, on tables that must pass it and on tables that must not."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from builders import index, numbered_entries, write_drop
from deltalake import DeltaTable, write_deltalake

from assets.orchestration.checks import (
    Check,
    asset_checks,
    checks_of_stage,
    no_empty_text,
    no_file_name_as_vecap,
    one_row_for_each,
    probabilities_sum_to_one,
    rows_balance_raw_crawl,
    rows_balance_training_sets,
    schema_is_as_declared,
    scores_are_shares,
)
from veclip_pipelines.crawl.drops import inspect_drop, register_drop
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, VECAP
from veclip_pipelines.schemas.shared_columns import CRAWL_PARTITION, OUTCOME_COLUMNS
from veclip_pipelines.schemas.spec import TableSpec, table_spec, text_column
from veclip_pipelines.schemas.training_schemas import BENCHMARK_SCORES, TRAINING_SETS
from veclip_pipelines.stages import STAGES, Stage, version_of
from veclip_pipelines.tables.commit import append_new, partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.provenance import Provenance, record
from veclip_pipelines.tables.query import connect, read_rows
from veclip_pipelines.tables.warehouse import Warehouse

KEY = "crawl-1"
SET_INPUTS = {f"raw_crawl/{KEY}": "v1"}


@pytest.fixture
def filled(tmp_path: Path, warehouse: Warehouse) -> Warehouse:
    """A registered and indexed drop of three samples."""
    drop = inspect_drop(str(write_drop(tmp_path / KEY, numbered_entries(3))))
    register_drop(warehouse, drop, KEY, run_id="r")
    index(warehouse, drop, KEY)
    return warehouse


def passes(check: Check, warehouse: Warehouse, key: str = KEY) -> bool:
    with connect(warehouse) as connection:
        finding = check(warehouse, connection, key)
    assert finding.says
    return finding.passed


def put(warehouse: Warehouse, spec: TableSpec, partition: dict[str, str], rows: list[dict[str, object]]) -> None:
    expected = partition_files(warehouse.open(spec), partition)
    file = write_file(
        warehouse, spec, partition, f"f{len(expected)}{len(rows)}{hash(str(rows)) % 999}", table_of(spec, rows)
    )
    replace_partition(warehouse, spec, partition, [file], expected=expected, properties={})


def note(warehouse: Warehouse, asset: str, partition: str, inputs: dict[str, str]) -> None:
    record(warehouse, Provenance(asset, partition, "r", inputs, "d", 1, (), 1, 1, 0, 0.1, "1", "me"))


def captions(warehouse: Warehouse, spec: TableSpec, texts: dict[str, str | None]) -> None:
    rows: list[dict[str, object]] = [
        {spec.keys[0]: key, "input_hash": key, "text": text, "outcome": "rejected" if text is None else "kept"}
        for key, text in texts.items()
    ]
    put(warehouse, spec, {"crawl_partition": KEY, "engine_id": "e"}, rows)


def ids(warehouse: Warehouse, column: str) -> list[str]:
    return [
        row[column] for row in read_rows(warehouse, f"SELECT {column} FROM raw_crawl ORDER BY 1", tables=["raw_crawl"])
    ]


def test_raw_crawl_balance(filled: Warehouse, tmp_path: Path) -> None:
    assert passes(rows_balance_raw_crawl, filled)
    (tmp_path / KEY / "00000_stats.json").write_text('{"count": 4}')
    assert not passes(rows_balance_raw_crawl, filled)


@pytest.mark.parametrize(
    ("spec", "column"),
    [(CONCEPT_CAPTIONS, "image_sha256"), (VECAP, "sample_id")],
)
def test_caption_balance(filled: Warehouse, spec: TableSpec, column: str) -> None:
    check = one_row_for_each(STAGES[spec.name])
    keys = ids(filled, column)
    note(filled, spec.name, KEY, {"engine": "e"})
    captions(filled, spec, {keys[0]: "a", keys[1]: None, keys[2]: "c"})
    assert passes(check, filled)
    captions(filled, spec, {keys[0]: "a", keys[1]: "b"})
    assert not passes(check, filled)
    captions(filled, spec, {})
    assert not passes(check, filled)


def test_no_empty_text(filled: Warehouse) -> None:
    captions(filled, VECAP, {"a": "a cat", "b": None, "c": "東京", "d": "4"})
    assert passes(no_empty_text("vecap"), filled)
    for text in ("", "  ", "...", "\u200b"):
        captions(filled, VECAP, {"a": "a cat", "b": text})
        assert not passes(no_empty_text("vecap"), filled)


def test_no_file_name(filled: Warehouse) -> None:
    captions(filled, VECAP, {"a": "a cat", "b": None})
    assert passes(no_file_name_as_vecap, filled)
    captions(filled, VECAP, {"a": "a cat", "b": "IMG_2041.jpg"})
    assert not passes(no_file_name_as_vecap, filled)


def test_schema(filled: Warehouse) -> None:
    assert passes(schema_is_as_declared("raw_crawl"), filled)
    assert not passes(schema_is_as_declared("vecap"), filled)
    table = DeltaTable(
        filled.uri(TRAINING_SETS.__class__(**{**vars(TRAINING_SETS), "name": "raw_crawl"}))
    ).to_pyarrow_table()
    write_deltalake(
        f"{filled.root}/raw_crawl",
        table.append_column("stray", table["sample_id"]),
        mode="overwrite",
        schema_mode="overwrite",
    )
    assert not passes(schema_is_as_declared("raw_crawl"), filled)


def training_rows(keys: list[str], probabilities: list[float]) -> list[dict[str, object]]:
    texts = [{"source": "alt_text", "engine_id": None, "text": "x"}, {"source": "vecap", "engine_id": "e", "text": "y"}]
    return [
        {
            "sample_id": key,
            "image_sha256": key,
            "crawl_partition": KEY,
            "texts": texts,
            "probabilities": probabilities,
            "outcome": "kept",
        }
        for key in keys
    ]


def test_training_set_balance_and_probabilities(filled: Warehouse) -> None:
    keys, partition = ids(filled, "sample_id"), {"recipe": "r", "set_version": version_of(SET_INPUTS)}
    note(filled, "training_sets", "r", SET_INPUTS)
    assert not passes(rows_balance_training_sets, filled, "r")
    put(filled, TRAINING_SETS, partition, training_rows(keys, [0.5, 0.5]))
    assert passes(rows_balance_training_sets, filled, "r")
    assert passes(probabilities_sum_to_one, filled, "r")
    put(filled, TRAINING_SETS, partition, training_rows(keys[:2], [0.5, 0.4]))
    assert not passes(rows_balance_training_sets, filled, "r")
    assert not passes(probabilities_sum_to_one, filled, "r")
    put(filled, TRAINING_SETS, partition, training_rows(keys, [1.0]))
    assert not passes(probabilities_sum_to_one, filled, "r")


@pytest.mark.parametrize(
    ("values", "good"), [((0.1, 0.4, 0.4), True), ((0.4, 0.1, 0.5), False), ((0.1, 0.2, 1.5), False)]
)
def test_scores(warehouse: Warehouse, values: tuple[float, ...], good: bool) -> None:
    rows: list[dict[str, object]] = [
        {
            "checkpoint_id": "c", "recipe": "r", "benchmark": "b", "benchmark_sha256": "s", "metric": f"image_to_text_recall@{k}",
            "value": value, "queries": 10, "code_version": "1", "scored_at": datetime.datetime.now(datetime.UTC), "run_id": "x",
        }
        for k, value in zip((1, 5, 10), values, strict=True)
    ]  # fmt: skip
    append_new(warehouse, BENCHMARK_SCORES, rows, properties={})
    assert passes(scores_are_shares, warehouse, "r") is good


def test_findings_quote_no_foreign_text(filled: Warehouse) -> None:
    captions(filled, VECAP, {"a": "IMG_2041.jpg", "b": "!!"})
    with connect(filled) as connection:
        findings = [check(filled, connection, KEY) for check in (no_file_name_as_vecap, no_empty_text("vecap"))]
    assert all("IMG" not in json.dumps(finding.figures) + finding.says for finding in findings)


def test_each_stage_has_the_checks_that_it_had() -> None:
    """Names and whether they block, as when each stage's checks were listed by hand."""
    balance = {"rows_in_equal_kept_plus_rejected": True, "schema": True}
    captions = {**balance, "no_empty_text": True, "guard_rates_in_band": False}
    found = {
        next(iter(one.check_specs)).asset_key.to_user_string(): {spec.name: spec.blocking for spec in one.check_specs}
        for one in asset_checks
    }
    assert found == {
        "raw_crawl": balance,
        "duplicates": {"groups_are_of_kept_samples": False, "schema": True},
        "concept_captions": captions,
        "vecap": {**captions, "no_file_name_as_vecap": True},
        "training_sets": {**balance, "probabilities_sum_to_one": True, "no_benchmark_leak": False},
        "benchmark_scores": {"scores_are_shares": True},
    }


def test_a_stage_without_engines_has_one_row_for_each_picture(
    filled: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = [text_column("image_sha256", "the picture", required=True), *OUTCOME_COLUMNS, CRAWL_PARTITION]
    table = table_spec("toy", "a toy", columns, partition_by=("crawl_partition",), keys=("image_sha256",))
    stage = Stage(table, "crawl_partition", ("raw_crawl",), "toy.1", "#000000", describes="image_sha256")
    monkeypatch.setitem(STAGES, "toy", stage)
    assert set(checks_of_stage(stage)) == {"rows_in_equal_kept_plus_rejected", "schema"}
    check, _ = checks_of_stage(stage)["rows_in_equal_kept_plus_rejected"]
    assert check.__doc__ == "Every kept picture has one row."
    rows: list[dict[str, object]] = [{"image_sha256": key, "outcome": "kept"} for key in ids(filled, "image_sha256")]
    put(filled, table, {"crawl_partition": KEY}, rows)
    assert passes(check, filled)
    put(filled, table, {"crawl_partition": KEY}, rows[1:])
    assert not passes(check, filled)
