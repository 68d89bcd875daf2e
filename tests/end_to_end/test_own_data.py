"""The graph on a user's own drop and engines: real runs, real tables, one lineage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import dagster as dg
import pytest
import yaml
from builders import DropEntry, numbered_entries, picture, write_drop
from installation import ENGINES, Installation
from training_jobs import CONFIG

from veclip_pipelines.engines.prompts import prompt_catalogue
from veclip_pipelines.tables.query import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_engines")]

RECIPE = {
    "name": "tiny",
    "description": "of a test",
    "texts": [
        {"source": "alt_text", "probability": 0.4},
        {"source": "concept_caption", "engine": "seer", "probability": 0.3},
        {"source": "vecap", "engine": "mine", "concept_engine": "seer", "probability": 0.3},
    ],
    "model": {"config": "own", "vocabulary_size": 300},
    "training": {"steps": 8, "batch_size": 4},
    "benchmarks": ["own"],
}


def stale(installation: Installation) -> dict[str, list[str]]:
    done = installation.veclip(
        "materialize", *ENGINES, "--recipe", "tiny", "--partition", "own-crawl", "--dry-run", "--json"
    )
    return {item["key"]: item["stale"] for item in json.loads(done.stdout)}


def write_benchmark(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    images = []
    for number in range(4):
        (folder / "images" / f"{number}.png").write_bytes(picture(number))
        images.append({"filename": f"{number}.png", "split": "test", "sentences": [{"raw": f"shape number {number}"}]})
    (folder / "dataset.json").write_text(json.dumps({"images": images}))


def test_from_a_drop_to_scores_and_only_what_an_edit_touches(cluster: Installation, tmp_path: Path) -> None:
    home = cluster.settings.home
    (home / "recipes").mkdir(parents=True)
    (home / "recipes" / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    (home / "model_configs").mkdir()
    (home / "model_configs" / "own.json").write_text(json.dumps(CONFIG))
    write_benchmark(cluster.settings.benchmarks / "own")
    entries = [*numbered_entries(9), DropEntry("", picture(40)), DropEntry("broken", b"<html></html>")]
    cluster.process("crawl", "add", str(write_drop(tmp_path / "own-crawl", entries)))
    assert stale(cluster)["own-crawl"] == ["raw_crawl", "concept_captions", "vecap"]
    done = cluster.process("materialize", *ENGINES, "--partition", "own-crawl", "--recipe", "tiny")
    assert "4 runs launched" in done.stdout
    assert "\x1b" not in done.stdout

    # The tables: nothing lost, every caption explained.
    rows = read_rows(
        cluster.warehouse, "SELECT outcome, count(*) AS n FROM raw_crawl GROUP BY 1 ORDER BY 1", tables=["raw_crawl"]
    )
    assert [(row["outcome"], row["n"]) for row in rows] == [("kept", 10), ("rejected", 1)]
    captions = read_rows(
        cluster.warehouse,
        "SELECT c.route, e.profile, e.kind, e.prompt_name, count(*) AS n "
        "FROM concept_captions c JOIN engines e USING (engine_id) GROUP BY ALL",
        tables=["concept_captions", "engines"],
    )
    assert captions == [
        {"route": "engine", "profile": "seer", "kind": "transformers-image-text", "prompt_name": "concept@2", "n": 10}
    ]
    vecap = read_rows(cluster.warehouse, "SELECT * FROM vecap", tables=["vecap"])
    assert len(vecap) == 10
    assert {row["route"] for row in vecap} <= {"engine", "template", "concept", "alt_text"}
    assert all(row["text"] for row in vecap)
    sets = read_rows(cluster.warehouse, "SELECT * FROM training_sets", tables=["training_sets"])
    assert {len(row["texts"]) for row in sets} == {2, 3}
    assert len(read_rows(cluster.warehouse, "SELECT * FROM benchmark_scores", tables=["benchmark_scores"])) == 6

    # The instance: the same story, with who launched it.
    instance = dg.DagsterInstance.get()
    runs = instance.get_runs()
    assert {run.job_name for run in runs} == {
        "find_duplicates",
        "scoreboard_page",
        "register_crawl_drop",
        "configuration",
        "captions",
        "models",
    }
    assert all(run.status == dg.DagsterRunStatus.SUCCESS for run in runs)
    assert len({run.tags["veclip/launched_by"] for run in runs}) == 1
    provenance = {
        row["asset"]: row for row in read_rows(cluster.warehouse, "SELECT * FROM provenance", tables=["provenance"])
    }
    for asset in ("raw_crawl", "concept_captions", "vecap", "training_sets", "checkpoints", "benchmark_scores"):
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        materialisation = event.asset_materialization
        assert materialisation is not None
        row, metadata = provenance[asset], {key: value.value for key, value in materialisation.metadata.items()}
        assert materialisation.tags is not None
        assert materialisation.tags["dagster/data_version"] == row["data_version"]
        assert row["run_id"] == event.run_id
        assert row["launched_by"] == runs[0].tags["veclip/launched_by"] == metadata["launched_by"]
        assert metadata["rows_in"] == metadata["rows_kept"] + metadata["rows_rejected"]
        assert metadata["dagster/uri"].endswith(f"warehouse/{asset}")
        assert metadata["preview"].startswith("http://127.0.0.1:3080/")
        assert "shape number" not in str(metadata)
    checks = [
        record.event_log_entry.asset_check_evaluation
        for run in runs
        for record in instance.get_records_for_run(
            run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ).records
    ]
    assert len(checks) == 18
    # This benchmark is of the crawl's own pictures, and that is said.
    assert {check.check_name for check in checks if check is not None and not check.passed} == {"no_benchmark_leak"}

    # What others take from it: an export, a score by the command, the scoreboard as a file.
    exported = json.loads(cluster.process("export", "tiny", str(tmp_path / "export"), "--json").stdout)
    assert (exported["samples"], exported["shards"], sets[0]["set_version"]) == (10, 1, exported["set_version"])
    (checkpoint,) = read_rows(cluster.warehouse, "SELECT * FROM checkpoints", tables=["checkpoints"])
    benchmark = str(cluster.settings.benchmarks / "own")
    scored = json.loads(cluster.process("eval", checkpoint["uri"], "--benchmark", benchmark, "--json").stdout)
    scores = read_rows(cluster.warehouse, "SELECT metric, value FROM benchmark_scores", tables=["benchmark_scores"])
    assert {row["metric"]: row["value"] for row in scored["scores"]} == {row["metric"]: row["value"] for row in scores}
    assert "VeCLIP B/16" in (home / "reports" / "scoreboard.html").read_text()

    # Any end of it leads to all others, through the command, and back to the picture's bytes.
    traced = json.loads(cluster.process("trace", sets[0]["sample_id"], "--json").stdout)
    (sample,), (seen,) = traced["samples"], traced["samples"][0]["seen"]
    with Path(sample["shard_uri"]).open("rb") as shard:
        shard.seek(sample["image_offset"])
        assert hashlib.sha256(shard.read(sample["image_length"])).hexdigest() == sets[0]["image_sha256"]
    assert (seen["checkpoint_id"], sum(seen["drawn"].values())) == (checkpoint["checkpoint_id"], seen["actual"])
    assert abs(seen["expected"] - seen["actual"]) <= 1
    assert {engine["profile"] for engine in traced["engines"]} == {"seer", "mine"}
    assert len(traced["scores"]) == 6
    of_weights = json.loads(cluster.veclip("trace", checkpoint["uri"], "--json").stdout)
    assert [item["set_version"] for item in of_weights["sets"]] == [sets[0]["set_version"]]
    page = tmp_path / "trace.html"
    cluster.veclip("trace", "tiny/own/image_to_text_recall@1", "--html", str(page))
    assert "checkpoint" in page.read_text("utf-8")
    assert "no table knows" in cluster.veclip("trace", "nobody.example", succeeds=False).stdout

    # Nothing is stale now; an edited fusion prompt touches the fusion alone, and a recipe's schedule the training alone.
    assert stale(cluster) == {}
    assert (
        "no run was launched"
        in cluster.veclip("materialize", *ENGINES, "--partition", "own-crawl", "--recipe", "tiny").stdout
    )
    (home / "recipes" / "tiny.yaml").write_text(yaml.safe_dump({**RECIPE, "training": {"steps": 9, "batch_size": 4}}))
    assert stale(cluster) == {"tiny": ["checkpoints", "benchmark_scores"]}
    (home / "recipes" / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    prompt = yaml.safe_load(prompt_catalogue(cluster.settings).paths()["fusion"].read_text())
    (home / "prompts").mkdir()
    (home / "prompts" / "fusion.yaml").write_text(yaml.safe_dump({**prompt, "version": 2, "system": "Join the two."}))
    assert stale(cluster)["own-crawl"] == ["vecap"]
    cluster.veclip("materialize", *ENGINES, "--partition", "own-crawl")
    engines = read_rows(cluster.warehouse, "SELECT prompt_name FROM engines ORDER BY 1", tables=["engines"])
    assert [row["prompt_name"] for row in engines] == ["concept@2", "fusion@1", "fusion@2"]
    assert len(read_rows(cluster.warehouse, "SELECT * FROM vecap", tables=["vecap"])) == 20
    ids = read_rows(
        cluster.warehouse,
        "SELECT engine_id FROM engines WHERE prompt_name LIKE 'fusion@%' ORDER BY prompt_name",
        tables=["engines"],
    )
    compared = json.loads(cluster.process("diff", *(row["engine_id"] for row in ids), "--json").stdout)
    assert (compared["kind"], compared["rows"]["both"]) == ("vecap", 10)
    assert compared["rows"]["changed"] == sum(
        example["left_text"] != example["right_text"] for example in compared["examples"]
    )


def test_a_failing_check_blocks_what_is_downstream(cluster: Installation, tmp_path: Path) -> None:
    """A drop whose own record names more entries than it has: rows were lost before they came to us."""
    folder = write_drop(tmp_path / "lossy", numbered_entries(3))
    (folder / "00000_stats.json").write_text(json.dumps({"count": 5}))
    cluster.veclip("crawl", "add", str(folder))
    done = cluster.veclip("materialize", *ENGINES, "--partition", "lossy", succeeds=False)
    assert done.returncode == 1
    assert "rows_in_equal_kept_plus_rejected" in done.stderr
    assert "Traceback" not in done.stderr
    assert read_rows(cluster.warehouse, "SELECT * FROM concept_captions", tables=["concept_captions"]) == []


def test_without_a_cluster_a_step_brings_its_own_workers(installation: Installation, tmp_path: Path) -> None:
    installation.veclip("crawl", "add", str(write_drop(tmp_path / "alone", numbered_entries(3))))
    installation.veclip("materialize", *ENGINES, "--partition", "alone")
    assert len(read_rows(installation.warehouse, "SELECT * FROM vecap", tables=["vecap"])) == 3
