"""Uses the five additions of CONTRIBUTING.md. test_contributing.py runs it in a copy of the sources that has them."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest
import yaml
from builders import index, numbered_entries, picture, write_drop
from command_line import call

import veclip_pipelines
from assets.orchestration.launching import prepare_dagster_home
from veclip_pipelines.audit.auditing import audit
from veclip_pipelines.captioning.fusion import CODE_VERSION, fuse_units
from veclip_pipelines.captioning.guards import Case, first_fault
from veclip_pipelines.captioning.plan import Unit
from veclip_pipelines.commands import context
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.definitions import build_defs
from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.identity import resolve_engine
from veclip_pipelines.engines.profiles import GuardPolicy
from veclip_pipelines.evaluation.benchmark_kinds import RetrievalBenchmark
from veclip_pipelines.evaluation.benchmarks import benchmark_folders, open_benchmark
from veclip_pipelines.planning.partition_history import retire
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse


def test_this_is_the_copy() -> None:
    assert Path(veclip_pipelines.__file__).parents[1] == Path.cwd()


def test_the_engine(settings: Settings) -> None:
    engine = resolve_engine(settings, "uppercase", "fusion", CODE_VERSION)
    unit = Unit("h", ("s",), alt_text="our cat on the sofa", concept="a striped cat")
    (caption,) = fuse_units(engine, [unit])
    assert (caption.text, caption.route) == ("OUR CAT ON THE SOFA, a striped cat", "engine")


def test_the_format(tmp_path: Path, warehouse: Warehouse) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(picture(number))
    texts = {"0.png": "the first shape", "1.png": "the second shape", "2.png": ["no text"], "3.png": "no picture"}
    (folder / "captions.yaml").write_text(yaml.safe_dump(texts))
    drop = inspect_drop(str(folder))
    assert (drop.format, drop.entries) == ("captions-yaml", 4)
    index(warehouse, drop, "c")
    rows = read_rows(warehouse, "SELECT alt_text, reason FROM raw_crawl ORDER BY source_key", tables=["raw_crawl"])
    assert [row["alt_text"] for row in rows[:2]] == ["the first shape", "the second shape"]
    assert [row["reason"] for row in rows] == [None, None, "malformed_row", "missing_picture"]


def test_the_guard() -> None:
    case = Case(EngineText("Our cat on the sofa?", "stop", 5), None, "our cat on the sofa", "a cat")
    assert first_fault(case, GuardPolicy()) == "question"
    assert first_fault(case, GuardPolicy(skip=("question",))) is None


def test_the_benchmark(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(picture(number))
    (folder / "pairs.csv").write_text("file_name,caption\n0.png,one\n1.png,two\n0.png,uno\n")
    assert benchmark_folders(tmp_path, "all") == [folder]
    found = open_benchmark(folder)
    assert isinstance(found, RetrievalBenchmark)
    assert found.captions == (("one", "uno"), ("two",))


def veclip(*arguments: str) -> str:
    done = call(*arguments)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_stage(tmp_path: Path, settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_dagster_home(settings)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    definitions = build_defs()
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    assert dg.AssetKey("sharpness") in graph.get_all_asset_keys()
    assert {key.name for key in graph.asset_check_keys if key.asset_key == dg.AssetKey("sharpness")} == {
        "schema", "rows_in_equal_kept_plus_rejected",
    }  # fmt: skip
    for model in ("efficientnet-lite0", "smollm2-135m-instruct"):
        (settings.models / model).mkdir(parents=True)
        (settings.models / model / "model.safetensors").write_bytes(b"weights")

    veclip("crawl", "add", str(write_drop(tmp_path / "crawl-1", numbered_entries(4))))
    launcher = context.launcher()
    assert launcher.crawl.index("crawl-1", [], lambda _: None).success
    (planned,) = json.loads(veclip("materialize", "--partition", "crawl-1", "--dry-run", "--json"))
    assert planned["stale"] == ["concept_captions", "vecap", "sharpness"]
    (estimate,) = json.loads(veclip("backfill", "--select", "sharpness", "--dry-run", "--json"))
    assert (estimate["asset"], estimate["partitions"]) == ("sharpness", 1)

    made = launcher.materialise.captions("crawl-1", ["sharpness"], "tagger", "smollm2-fusion", lambda _: None)
    assert made.success, made.error
    assert set(made.steps) == {"sharpness", "sharpness_checks"}
    rows = read_rows(warehouse, "SELECT sharpness, outcome FROM sharpness", tables=["sharpness"])
    assert len(rows) == 4
    assert all(row["outcome"] == "kept" and row["sharpness"] > 0 for row in rows)
    assert audit(warehouse, None).findings == []
    # One part of the table goes.
    assert retire(warehouse, "crawl-1", run_id="r", by="someone")["sharpness"] == 1
    assert read_rows(warehouse, "SELECT * FROM sharpness", tables=["sharpness"]) == []
