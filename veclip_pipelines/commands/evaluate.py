"""veclip eval: what a model scores on benchmarks, whoever made it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import print_json, print_rows, say
from veclip_pipelines.compute.cluster import running_cluster
from veclip_pipelines.errors import UsageError


def evaluate(
    model: Annotated[
        str,
        typer.Argument(help="Folder of a transformers CLIP or SigLIP (a checkpoint of ours, a released VeCLIP), or of an open_clip "
                       "model, or a checkpoint file."),
    ],
    benchmark: Annotated[list[Path], typer.Option(help="Folder of a benchmark; repeat for several.")],
    split: Annotated[str, typer.Option(help="Split of the benchmarks.")] = "test",
    tokenizer: Annotated[str | None, typer.Option(help="Folder or hub id of the tokenizer, or CLIP's vocabulary (.txt.gz).")] = None,
    architecture: Annotated[str | None, typer.Option(help="Model config, for an open_clip checkpoint without one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # fmt: skip
    """Score a model on benchmarks: Karpathy's JSON (COCO, Flickr30k), class folders (ImageNet, V2), CLIP_benchmark's webdataset.

    Runs on the cluster that veclip cluster up started, or here. Nothing is written.
    """
    from veclip_pipelines.compute.fanout import DaskRunner, HereRunner
    from veclip_pipelines.evaluation.benchmark_kinds import RetrievalBenchmark
    from veclip_pipelines.evaluation.benchmarks import open_benchmark
    from veclip_pipelines.evaluation.models import ModelSource, load_model, weights_id
    from veclip_pipelines.evaluation.open_clip_weights import Architecture
    from veclip_pipelines.evaluation.scoring import score

    place = Path(model).expanduser()
    settings = context.settings()
    named = Architecture(settings, architecture) if architecture is not None else None
    source = ModelSource(str(place.resolve()) if place.exists() else model, tokenizer, named)
    opened = [open_benchmark(folder.expanduser().resolve(), split) for folder in benchmark]
    if not opened:
        raise UsageError("name at least one benchmark: --benchmark DIR")
    cluster = running_cluster(settings)
    # Before any work is sent out: a model that cannot be loaded is wrong use, to be reported at once.
    maker = load_model(source).maker
    results: list[dict[str, object]] = []
    for item in opened:
        if cluster is None:
            found = score(source, item, HereRunner())
        else:
            from distributed import Client

            with Client(cluster.address) as client:
                found = score(source, item, DaskRunner(client, f"eval-{item.name}"))
        task = "retrieval" if isinstance(item, RetrievalBenchmark) else "zero-shot"
        results += [
            {"benchmark": item.name, "task": task, "metric": metric, **vars(value)} for metric, value in found.items()
        ]
    if as_json:
        return print_json(
            {
                "model": source.path,
                "kind": maker,
                "weights_sha256": weights_id(source),
                "split": split,
                "scores": results,
            }
        )
    say(f"{source.path} ({maker})")
    rows: list[list[object]] = [
        [row["benchmark"], row["metric"], f"{100 * float(str(row['value'])):.2f}",
         f"{100 * float(str(row['low'])):.2f} – {100 * float(str(row['high'])):.2f}", row["queries"]]
        for row in results
    ]  # fmt: skip
    print_rows(
        "Scores in %", ("benchmark", "metric", "score", "95 % interval", "queries"), rows, numbers=("score", "queries")
    )
