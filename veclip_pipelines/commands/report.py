"""veclip report: what a training set or a checkpoint is made of, for people and for catalogues."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import print_json, print_rows, say
from veclip_pipelines.errors import UsageError

if TYPE_CHECKING:
    from veclip_pipelines.reporting.card import Card
    from veclip_pipelines.tables.warehouse import Warehouse


def report(
    what: Annotated[
        str, typer.Argument(help="RECIPE (its newest set), RECIPE@VERSION, or a checkpoint: id, folder or MLflow run.")
    ],
    html: Annotated[
        Path | None, typer.Option(help="Write the data card to this file: one page with its pictures in it.")
    ] = None,
    croissant: Annotated[Path | None, typer.Option(help="Write Croissant metadata (JSON-LD) to this file.")] = None,
    openlineage: Annotated[
        str, typer.Option(help="Send OpenLineage events to this address, or write them to this file.")
    ] = "",
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Keep the card, without samples, and the Croissant with the MLflow runs.")
    ] = False,
    samples: Annotated[int, typer.Option(min=0, help="Samples that the card shows.")] = 12,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the data card of a training set or a checkpoint: sources, counts, filters, models and prompts, lineage, scores."""
    from veclip_pipelines.lineage.graph import find_subject
    from veclip_pipelines.reporting.card import card_json, data_card

    warehouse = context.warehouse()
    subject = find_subject(warehouse, what)
    card = data_card(warehouse, subject, samples=samples if html or as_json else 0)
    if html is not None:
        from veclip_pipelines.serving.standalone_pages import report_page

        target = context.write_page(html, report_page(warehouse, card), subject.recipe, subject.set_version)
        if not as_json:
            say(f"data card of {subject.name}: {target}")
    if croissant is not None:
        croissant.write_text(_croissant(warehouse, card), "utf-8")
    if openlineage:
        from veclip_pipelines.reporting.openlineage_events import events, send

        send(events(warehouse, card.graph), openlineage)
    if mlflow:
        _log(warehouse, card)
    if as_json:
        return print_json(card_json(card))
    _tell(card)


def _croissant(warehouse: Warehouse, card: Card) -> str:
    from veclip_pipelines.reporting.croissant import croissant

    return json.dumps(croissant(warehouse, card), indent=2, ensure_ascii=False, default=str) + "\n"


def _log(warehouse: Warehouse, card: Card) -> None:
    """Logs the card to the MLflow run of each checkpoint, without samples: artifacts get copied, and no takedown reaches all copies."""
    from veclip_pipelines.mlflow_tracking import Tracking
    from veclip_pipelines.serving.standalone_pages import report_page

    if not card.graph.checkpoints:
        raise UsageError(f"nothing was trained on {card.subject.name} yet: there is no MLflow run to keep it with")
    settings = context.settings()
    tracking = Tracking(settings.mlflow_tracking_uri, settings.mlflow_artifacts)
    bare = dataclasses.replace(card, samples=())
    with tempfile.TemporaryDirectory(prefix="veclip-report-") as scratch:
        (Path(scratch) / "report.html").write_text(report_page(warehouse, bare), "utf-8")
        (Path(scratch) / "croissant.json").write_text(_croissant(warehouse, bare), "utf-8")
        for row in card.graph.checkpoints:
            tracking.reopen(str(row["mlflow_run_id"])).log_folder(Path(scratch), "report")


def _tell(card: Card) -> None:
    say(f"{card.subject.name}: {card.counts['rows']} samples, {card.counts['rejected']} rows left out")
    print_rows(
        "Sources",
        ("crawl partition", "format", "entries", "kept", "samples"),
        [[row["crawl_partition"], row["format"], row["entries"], row["kept"], row["samples"]] for row in card.sources],
        numbers=("entries", "kept", "samples"),
    )
    texts: list[list[object]] = [
        [part.name, text.source, f"{text.probability:g}", text.profile or ""]
        for part in card.parts
        for text in part.texts
    ]
    print_rows("Texts", ("part", "source", "probability", "engine"), texts, numbers=("probability",))
    left_out: list[list[object]] = [["training_sets", row["reason"], row["rows"]] for row in card.counts["reasons"]]
    left_out += [[row["stage"], row["reason"], row["rows"]] for row in card.stages]
    if left_out:
        print_rows("Left out", ("step", "reason", "rows"), left_out, numbers=("rows",))
    scores: list[list[object]] = [
        [row["checkpoint_id"], row["benchmark"], row["metric"], f"{100 * row['value']:.1f} %"]
        for row in card.graph.scores
    ]
    if scores:
        print_rows("Scores", ("checkpoint", "benchmark", "metric", "value"), scores, numbers=("value",))
