"""veclip audit: whether the warehouse is what it claims to be."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import print_json, print_rows, say


def audit(
    sample: Annotated[
        int, typer.Option(min=0, help="Rows to draw at random and to trace to their picture's bytes.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    rebuild: Annotated[bool, typer.Option(help="Rebuild each training set from its pins, and compare.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the whole warehouse: counts, captions, training sets, checkpoints, scores, files, takedowns, runs. Exit 1 on a finding."""
    from veclip_pipelines.audit.auditing import CHECKS
    from veclip_pipelines.audit.auditing import audit as look
    from veclip_pipelines.mlflow_tracking import Tracking

    settings, launcher = context.settings(), context.launcher()
    tracking = Tracking(settings.mlflow_tracking_uri, settings.mlflow_artifacts)
    found = look(
        context.warehouse(),
        tracking,
        sample=sample,
        rebuild=rebuild,
        seed=seed,
        shards=settings.shards,
        materialised=launcher.upkeep.materialised(),
    )
    stale = launcher.stale.of_what_was_made()
    if as_json:
        print_json({**dataclasses.asdict(found), "stale": [dataclasses.asdict(one) for one in stale]})
    else:
        checked: list[list[object]] = [[CHECKS[name], count] for name, count in found.checked.items()]
        print_rows("Checked", ("check", "looked at"), checked, numbers=("looked at",))
        if found.findings:
            rows: list[list[object]] = [[item.check, item.where, item.what] for item in found.findings]
            print_rows("Findings", ("check", "where", "what"), rows)
        if stale:
            print_rows(
                "Stale, which is no finding", ("key", "assets"), [[one.key, ", ".join(one.assets)] for one in stale]
            )
        say(f"{len(found.findings)} findings")
    if found.findings:
        raise typer.Exit(1)
