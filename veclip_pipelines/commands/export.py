"""veclip export: a recipe's training set in the formats of others."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from veclip_pipelines.commands import context
from veclip_pipelines.commands.console import print_json, say
from veclip_pipelines.errors import UsageError


class Format(StrEnum):
    """The format to write."""

    WEBDATASET = "webdataset"
    DATACOMP = "datacomp"
    HUGGINGFACE = "huggingface"


def export(
    recipe: Annotated[str, typer.Argument(help="Recipe whose training set is exported.")],
    target: Annotated[Path, typer.Argument(help="Folder, or for datacomp the .npy file.")],
    to: Annotated[Format, typer.Option(help="Format.")] = Format.WEBDATASET,
    set_version: Annotated[str, typer.Option(help="Version of the set; the newest by default.")] = "",
    per_shard: Annotated[int, typer.Option(min=1, help="Samples in one shard or file.")] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a training set as webdataset shards for open_clip, as a DataComp subset, or as a Hugging Face datasets folder."""
    from veclip_pipelines.export.exported_samples import note_export

    warehouse = context.warehouse()
    version = set_version or _newest(recipe)
    target = target.expanduser().resolve()
    note_export(warehouse, recipe, version, to.value, str(target), context.user())
    if to is Format.WEBDATASET:
        from veclip_pipelines.export.webdataset import export_webdataset

        made = export_webdataset(warehouse, recipe, version, target, per_shard=per_shard)
        arguments = made.open_clip_arguments()
        if as_json:
            return print_json(
                {"samples": made.samples, "shards": made.shards, "set_version": version, "open_clip": arguments}
            )
        say(f"{made.samples} samples in {made.shards} shards of set {version}: {target}")
        return say(f"open_clip trains on it with: {shlex.join(arguments)}")
    if to is Format.DATACOMP:
        from veclip_pipelines.export.datacomp import export_datacomp

        count = export_datacomp(warehouse, recipe, version, target)
    else:
        from veclip_pipelines.export.huggingface import export_huggingface

        count = export_huggingface(warehouse, recipe, version, target, per_file=per_shard)
    if as_json:
        return print_json({"samples": count, "set_version": version})
    say(f"{count} samples of set {version}: {target}")


def _newest(recipe: str) -> str:
    """The version of a recipe's newest set. Raises UsageError if it has none."""
    from veclip_pipelines.tables.query import read_rows

    rows = read_rows(
        context.warehouse(),
        "SELECT set_version FROM set_pins WHERE recipe = ? ORDER BY pinned_at DESC LIMIT 1",
        [recipe],
        tables=["set_pins"],
    )
    if not rows:
        raise UsageError(f"recipe {recipe!r} has no training set yet: veclip materialize --recipe {recipe}")
    return str(rows[0]["set_version"])
