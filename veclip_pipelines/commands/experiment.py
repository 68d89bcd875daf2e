"""veclip experiment: the paper's claim, measured on generated scenes through the ordinary graph."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import ProgressBoard, out, say
from veclip_pipelines.commands.crawl import registered_partition
from veclip_pipelines.commands.materialize import bring_up_to_date
from veclip_pipelines.compute.cluster import cluster_down, cluster_up, running_cluster


def experiment(
    small: Annotated[bool, typer.Option("--small", help="A few minutes: few pictures, one seed.")] = False,
) -> None:
    """Train CLIP on AltText, concept captions, VeCap and their mix, and test the paper's claims.

    It can be stopped at any point and run again: what is up to date is not repeated.
    """
    from veclip_pipelines.experiment.data import OF_CAPTIONER
    from veclip_pipelines.experiment.design import CAPTIONER, FUSION, Plan
    from veclip_pipelines.experiment.folders import crawl_folder, report_folder
    from veclip_pipelines.experiment.write_up import REPORT

    started = time.monotonic()
    launcher, settings = context.launcher(), context.settings()
    plan = Plan.small() if small else Plan()
    with ProgressBoard() as board:
        context.require_success(
            launcher.materialise.experiment("experiment_data", board.add("drawing scenes", 1), small=small)
        )
    had_cluster = running_cluster(settings) is not None
    try:
        cluster = cluster_up(settings)
        say(f"Dask: scheduler {cluster.address}, {cluster.workers} workers, dashboard {cluster.dashboard}")
        partitions = []
        for drop in sorted(path for path in crawl_folder(settings).iterdir() if path.is_dir()):
            if registered_partition(drop) is None:
                with ProgressBoard() as board:
                    watch = board.add(f"registering {drop.name}", 1)
                    context.require_success(launcher.crawl.register(str(drop), drop.name, replace=False, watch=watch))
            key = registered_partition(drop)
            assert key is not None
            if drop.name != OF_CAPTIONER:
                partitions.append(key)
            elif launcher.stale.raw_crawl(key):
                # Only its own texts are needed: nothing captions the pictures that the captioner was trained on.
                with ProgressBoard() as board:
                    context.require_success(launcher.crawl.index(key, [], board.add(f"crawl partition {key}", 2)))
        launcher.crawl.partitions()
        runs = [run.recipe for run in plan.runs()]
        ran = bring_up_to_date(launcher, partitions, runs, CAPTIONER, FUSION)
    finally:
        if not had_cluster:
            cluster_down(settings)
    with ProgressBoard() as board:
        context.require_success(
            launcher.materialise.experiment("experiment_report", board.add("report", 1), small=small)
        )
    folder = report_folder(settings)
    out.print((folder / REPORT).read_text("utf-8"), markup=False, soft_wrap=True)
    say(f"{ran} runs in {time.monotonic() - started:.0f} s. Report, plot and figures: {folder}")
