"""The whole story: two crawls, two prompts, three recipes, a takedown, a re-crawl, and one pass that brings everything up to date.

After each change the tables (veclip materialize --dry-run), Dagster's own marks and the audit must agree.
"""

from __future__ import annotations

import hashlib
import html
import json
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml
from builders import DropEntry, numbered_entries, picture, write_drop
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView, TemporalContext
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from installation import ENGINES, Installation
from training_jobs import CONFIG

from assets.orchestration.launching import Launcher
from assets.warehouse_audit import materialised
from veclip_pipelines.audit.auditing import audit as look
from veclip_pipelines.commands.materialize import plan
from veclip_pipelines.definitions import defs
from veclip_pipelines.engines.prompts import prompt_catalogue
from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.tables.query import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_engines"), pytest.mark.timeout(900)]

CRAWL_ASSETS = ["raw_crawl", "concept_captions", "vecap"]
RECIPE_ASSETS = ["training_sets", "checkpoints", "benchmark_scores"]
ALT = {"source": "alt_text"}
VECAP = {"source": "vecap", "engine": "mine", "concept_engine": "seer"}
RECIPES = {"alttext": [ALT], "vecap": [VECAP], "mixed": [ALT, VECAP]}
GONE = hashlib.sha256(picture(2)).hexdigest()
TELLING = "the red bicycle of Ms. Example in front of her house"


def prepare(installation: Installation) -> None:
    home = installation.settings.home
    for name in ("recipes", "model_configs"):
        (home / name).mkdir(parents=True)
    (home / "model_configs" / "own.json").write_text(json.dumps(CONFIG))
    for name, texts in RECIPES.items():
        recipe = {
            "name": name,
            "description": "of a test",
            "texts": [{**text, "probability": 1 / len(texts)} for text in texts],
            "model": {"config": "own", "vocabulary_size": 300},
            "training": {"steps": 6, "batch_size": 4},
            "benchmarks": ["own"],
        }
        (home / "recipes" / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    folder = installation.settings.benchmarks / "own"
    (folder / "images").mkdir(parents=True)
    images = []
    for number in range(100, 104):
        (folder / "images" / f"{number}.png").write_bytes(picture(number))
        images.append({"filename": f"{number}.png", "split": "test", "sentences": [{"raw": f"shape number {number}"}]})
    (folder / "dataset.json").write_text(json.dumps({"images": images}))


def stale(installation: Installation) -> dict[str, list[str]]:
    """What the tables say is stale, as veclip materialize --dry-run has it, and the audit, which works the engines out by itself."""
    launcher = Launcher(installation.settings, installation.warehouse, "a test")
    work = plan(launcher, ["crawl-a", "crawl-b"], list(RECIPES), "seer", "mine")
    found = {item.key: list(item.assets) for item in work}
    if read_rows(installation.warehouse, "SELECT 1 FROM benchmark_scores LIMIT 1", tables=["benchmark_scores"]):
        told = {one.key: list(one.assets) for one in launcher.stale.of_what_was_made()}
        assert {key: assets for key, assets in told.items() if key != "all"} == found
    return found


def stale_in_dagster() -> dict[str, list[str]]:
    """What the UI marks."""
    graph = defs.resolve_asset_graph()
    with dg.DagsterInstance.get() as instance:
        now = TemporalContext(effective_dt=datetime.now(UTC), last_event_id=None)
        resolver = CachingStaleStatusResolver(
            instance, graph, AssetGraphView(temporal_context=now, instance=instance, asset_graph=graph)
        )
        keys = {"crawl-a": CRAWL_ASSETS, "crawl-b": CRAWL_ASSETS, **dict.fromkeys(RECIPES, RECIPE_ASSETS)}
        marked = {
            key: [asset for asset in assets if resolver.get_status(dg.AssetKey(asset), key) == StaleStatus.STALE]
            for key, assets in keys.items()
        }
    return {key: assets for key, assets in marked.items() if assets}


def bring_up_to_date(installation: Installation) -> list[tuple[str, str]]:
    """Materialises all that is stale; job and partition of each run that it took."""
    with dg.DagsterInstance.get() as instance:
        before = {run.run_id for run in instance.get_runs()}
    names = [argument for name in RECIPES for argument in ("--recipe", name)]
    installation.veclip("materialize", *ENGINES, "--partition", "crawl-a", "--partition", "crawl-b", *names)
    with dg.DagsterInstance.get() as instance:
        runs = [run for run in instance.get_runs() if run.run_id not in before]
    return sorted((run.job_name, run.tags.get("dagster/partition", "")) for run in runs)


def audit(installation: Installation) -> None:
    settings = installation.settings
    tracking = Tracking(settings.mlflow_tracking_uri, settings.mlflow_artifacts)
    with dg.DagsterInstance.get() as instance:
        report = look(
            installation.warehouse,
            tracking,
            sample=50,
            shards=settings.shards,
            materialised=materialised(instance),
        )
    assert report.findings == []
    assert all(report.checked[name] for name in ("counts", "pins", "checkpoints", "materialisations", "sample"))


def test_two_crawls_two_prompts_three_recipes_a_takedown_and_a_recrawl(cluster: Installation, tmp_path: Path) -> None:
    prepare(cluster)
    first = [
        *numbered_entries(2),
        DropEntry(TELLING, picture(2), url="https://photos.example/2.png"),
        *numbered_entries(4, 3),
    ]
    cluster.veclip("crawl", "add", str(write_drop(tmp_path / "crawl-a", first)))
    cluster.veclip(
        "crawl",
        "add",
        str(write_drop(tmp_path / "crawl-b", [*numbered_entries(5, 20), DropEntry("again", picture(2))])),
    )
    bring_up_to_date(cluster)
    assert stale(cluster) == {}
    assert stale_in_dagster() == {}
    audit(cluster)

    check_links(cluster)

    # A second prompt touches the fusion and what is mixed of it.
    prompt = yaml.safe_load(prompt_catalogue(cluster.settings).paths()["fusion"].read_text())
    (cluster.settings.home / "prompts").mkdir()
    (cluster.settings.home / "prompts" / "fusion.yaml").write_text(
        yaml.safe_dump({**prompt, "version": 2, "system": "Join the two."})
    )
    touched = stale(cluster)
    assert {key: touched[key] for key in ("crawl-a", "crawl-b")} == {"crawl-a": ["vecap"], "crawl-b": ["vecap"]}
    assert set(touched) == {"crawl-a", "crawl-b", "vecap", "mixed"}
    assert ("models", "alttext") not in bring_up_to_date(cluster)
    assert stale(cluster) == {}
    audit(cluster)

    # A takedown: both copies of the picture go, captions are in line again by themselves, what was mixed is stale.
    exported = tmp_path / "export"
    cluster.veclip("export", "mixed", str(exported))
    card = tmp_path / "card.html"
    cluster.process("report", "mixed", "--html", str(card), "--samples", "100", "--mlflow")
    assert TELLING in html.unescape(card.read_text("utf-8"))
    logged = list((cluster.settings.home / "mlflow" / "artifacts").rglob("report/*"))
    assert {path.name for path in logged} == {"report.html", "croissant.json"}
    engines_before = counts(cluster)
    done = cluster.process(
        "takedown", "apply", "https://photos.example/2.png", "--yes", "--reason", "asked", "--keep-days", "0", "--json"
    )
    report = json.loads(done.stdout)
    assert (report["samples"], report["pictures"], report["is_finished"]) == (2, 1, True)
    assert {taint["recipe"] for taint in report["taints"]} == set(RECIPES)
    assert not card.exists()
    assert all(path.exists() for path in logged)
    assert all(taint["seen"] > 0 for taint in report["taints"])
    assert stale(cluster) == dict.fromkeys(RECIPES, RECIPE_ASSETS)
    # Dagster marks what has an input that changed; scores follow when there is a new checkpoint.
    assert stale_in_dagster() == {key: ["training_sets", "checkpoints"] for key in RECIPES}
    audit(cluster)
    verified = json.loads(cluster.veclip("takedown", "verify", "--json").stdout)
    assert (verified["remnants"], verified["unreadable"]) == ([], {})

    # The crawl comes again, larger, with the picture in it.
    again = [*first, *numbered_entries(2, 30)]
    cluster.veclip("crawl", "add", str(write_drop(tmp_path / "again", again)), "--partition", "crawl-a", "--replace")
    assert stale(cluster) == {"crawl-a": CRAWL_ASSETS, **dict.fromkeys(RECIPES, RECIPE_ASSETS)}
    runs = bring_up_to_date(cluster)
    assert runs == [
        ("captions", "crawl-a"),
        ("find_duplicates", ""),
        *(("models", name) for name in sorted(RECIPES)),
        ("scoreboard_page", ""),
    ]
    assert stale(cluster) == {}
    assert stale_in_dagster() == {}
    rows = read_rows(
        cluster.warehouse,
        "SELECT reason, count(*) AS n FROM raw_crawl WHERE crawl_partition = 'crawl-a' GROUP BY 1 ORDER BY 1",
        tables=["raw_crawl"],
    )
    assert {row["reason"]: row["n"] for row in rows} == {None: 8, "taken_down": 1}
    # Two new pictures were described, and no other.
    assert counts(cluster)["concept_captions"] == engines_before["concept_captions"] - 2 + 2
    # The new drop's own tar has the picture, though no table does: where it came again it is erased, too.
    verified = json.loads(cluster.veclip("takedown", "verify", "--json", succeeds=False).stdout)
    assert {Path(one["uri"]).parent.name for one in verified["remnants"]} == {"again"}
    cluster.veclip("takedown", "finish")
    cluster.veclip("takedown", "verify")
    assert stale(cluster) == {}
    audit(cluster)

    # All that may go goes: nothing is stale for it, and the audit and the traces find what they found.
    with dg.DagsterInstance.get() as instance:
        runs_before = {run.run_id for run in instance.get_runs()}
    everything = ("--runs-days", "0", "--earlier-days", "0", "--scratch-hours", "0")
    named = json.loads(cluster.veclip("prune", *everything, "--dry-run", "--json").stdout)
    assert {one["kind"] for one in named} >= {"run", "earlier"}
    cluster.process("prune", *everything, "--yes")
    with dg.DagsterInstance.get() as instance:
        gone = runs_before - {run.run_id for run in instance.get_runs()}
    assert gone == {one["place"] for one in named if one["kind"] == "run"}
    written = read_rows(cluster.warehouse, "SELECT run_id, job, materialised FROM runs", tables=["runs"])
    assert {row["run_id"] for row in written} == gone
    assert any(item.startswith("raw_crawl/crawl-a@") for row in written for item in row["materialised"])
    assert stale(cluster) == {}
    assert stale_in_dagster() == {}
    cluster.process("audit", "--sample", "50")
    cluster.veclip("takedown", "verify")


def check_links(installation: Installation) -> None:
    """From a checkpoint in Dagster to its MLflow run and its data card, and from there back."""
    with dg.DagsterInstance.get() as instance:
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey("checkpoints"), asset_partitions=["mixed"])
        record = instance.fetch_materializations(wanted, limit=1).records[0]
    assert record.asset_materialization is not None
    metadata = {name: value.value for name, value in record.asset_materialization.metadata.items()}
    run_id, checkpoint = metadata["mlflow_run_id"], Path(str(metadata["checkpoint"])).name
    assert str(metadata["mlflow"]).startswith("http://127.0.0.1:5000/#/experiments/")
    assert str(metadata["mlflow"]).endswith(f"/runs/{run_id}")
    assert metadata["data_card"] == f"{installation.settings.serve_url}/reports/{checkpoint}"
    settings = installation.settings
    run = Tracking(settings.mlflow_tracking_uri, settings.mlflow_artifacts).client().get_run(str(run_id))
    note = run.data.tags["mlflow.note.content"]
    for part in (
        f"/runs/{record.run_id}",
        f"/reports/{checkpoint}",
        f"/trace?as=checkpoint&of={checkpoint}",
        "partition=mixed",
    ):
        assert part in note


def counts(installation: Installation) -> dict[str, int]:
    return {
        table: read_rows(installation.warehouse, f"SELECT count(*) AS n FROM {table}", tables=[table])[0]["n"]
        for table in ("concept_captions", "vecap")
    }
