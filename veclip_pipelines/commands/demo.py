"""veclip demo: the main job on the sample crawl, from pictures to scores."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import ProgressBoard, out, print_rows, say
from veclip_pipelines.commands.crawl import registered_partition
from veclip_pipelines.commands.materialize import bring_up_to_date
from veclip_pipelines.compute.cluster import cluster_down, cluster_up, running_cluster

RECIPES = ("alttext", "vecap", "mixed")
_SHOWN = 6


def demo() -> None:
    """Run the main job on a sample crawl: real pictures to VeCap, training sets, checkpoints and scores."""
    from veclip_pipelines.demo.sample_crawl import write_sample_benchmark, write_sample_drops
    from veclip_pipelines.engines.install import install_demo_models

    started = time.monotonic()
    launcher = context.launcher()
    settings = context.settings()
    install_demo_models(settings.models, say)
    drops = write_sample_drops(settings.home / "crawl")
    write_sample_benchmark(settings.benchmarks)
    had_cluster = running_cluster(settings) is not None
    try:
        cluster = cluster_up(settings)
        say(f"Dask: scheduler {cluster.address}, {cluster.workers} workers, dashboard {cluster.dashboard}")
        registered = 0
        for drop in drops:
            if registered_partition(drop) is None:
                with ProgressBoard() as board:
                    watch = board.add(f"registering {drop.name}", 1)
                    done = launcher.crawl.register(str(drop), drop.name, replace=False, watch=watch)
                context.require_success(done)
                registered += 1
        launcher.crawl.partitions()
        partitions = [key for drop in drops if (key := registered_partition(drop))]
        ran = registered + bring_up_to_date(launcher, partitions, RECIPES, "tagger", "smollm2-fusion")
    finally:
        if not had_cluster:
            cluster_down(settings)
    _print_summary(partitions)
    if ran:
        say(f"{ran} runs in {time.monotonic() - started:.0f} s.")
    else:
        say("Everything was up to date: no run was launched and nothing was computed again.")
    say("With so few pictures CLIP has seen in training what it is scored on: this shows the path, not quality.")
    out.print()
    say(f"See it all in the Dagster UI:      {_command('veclip')} ui")
    say(
        f"The models' runs in MLflow alone:  {_command('mlflow')} ui --backend-store-uri {settings.mlflow_tracking_uri}"
    )


def _command(name: str) -> str:
    """A program of this environment as it can be typed: by name if the shell finds it, else by its path."""
    own = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found and Path(found).resolve() == own.resolve():
        return name
    here = Path.cwd()
    return str(own.relative_to(here)) if own.is_relative_to(here) else str(own)


def _print_summary(partitions: list[str]) -> None:
    from veclip_pipelines.evaluation.scoreboard import newest_scores
    from veclip_pipelines.serving.shown_samples import partition_counts

    warehouse = context.warehouse()
    counts = [row for row in partition_counts(warehouse) if row["crawl_partition"] in partitions]
    print_rows(
        "Rows by partition",
        ("crawl partition", "outcome", "reason", "rows"),
        [[row["crawl_partition"], row["outcome"], row["reason"], row["n"]] for row in counts],
        numbers=("rows",),
    )
    samples = _telling_samples(partitions)
    print_rows("Six samples", ("AltText", "concept caption", "VeCap", "made by"), samples)
    print_rows(*_score_table(newest_scores(warehouse)), numbers=_METRICS)
    print_rows("Seconds by step", ("asset", "partition", "seconds"), _durations(partitions), numbers=("seconds",))


def _telling_samples(partitions: list[str]) -> list[list[object]]:
    """Six samples that differ in how their VeCap came about: first the engine's answers, then fallbacks."""
    from veclip_pipelines.serving.shown_samples import kept_samples

    warehouse = context.warehouse()
    samples = [sample for key in partitions for sample in kept_samples(warehouse, key, limit=100)]
    by_route: dict[str, list[list[object]]] = {}
    for sample in samples:
        made = f"{sample.route}" + (f" ({sample.reason})" if sample.reason else "")
        row: list[object] = [sample.alt_text or "(empty)", sample.concept, sample.vecap, made]
        by_route.setdefault(sample.route or "", []).append(row)
    shown = [
        *by_route.get("engine", [])[:3],
        *by_route.get("template", [])[:2],
        *by_route.get("concept", [])[:1],
    ]
    return shown[:_SHOWN]


_METRICS = ("I2T R@1", "I2T R@5", "I2T R@10", "T2I R@1", "T2I R@5", "T2I R@10")


def _score_table(scores: list[dict[str, Any]]) -> tuple[str, tuple[str, ...], list[list[object]]]:
    names = [f"{way}_recall@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]
    rows: list[list[object]] = []
    for recipe in RECIPES:
        found = {score["metric"]: score["value"] for score in scores if score["recipe"] == recipe}
        rows.append([recipe, *(f"{100 * found[name]:.1f}" if name in found else "-" for name in names)])
    queries = max((int(score["queries"]) for score in scores), default=0)
    return f"Recall in %, {queries} pictures", ("recipe", *_METRICS), rows


def _durations(partitions: list[str]) -> list[list[object]]:
    """Seconds taken by each asset's newest materialisation that did any work."""
    from veclip_pipelines.tables.provenance import materialisations

    keys = [*partitions, *RECIPES]
    newest = materialisations(context.warehouse(), partitions=keys, newest="partition")
    return [[one.asset, one.partition, f"{one.seconds:.1f}"] for one in reversed(newest)]
