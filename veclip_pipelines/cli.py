"""veclip: the command line. Exit 0 done, 1 a finding or a failure, 2 wrong use."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape

from veclip_pipelines import __version__
from veclip_pipelines.commands import crawl, services, takedown
from veclip_pipelines.commands.audit import audit
from veclip_pipelines.commands.backfill import backfill
from veclip_pipelines.commands.console import err, say
from veclip_pipelines.commands.demo import demo
from veclip_pipelines.commands.diff import diff
from veclip_pipelines.commands.evaluate import evaluate
from veclip_pipelines.commands.experiment import experiment
from veclip_pipelines.commands.export import export
from veclip_pipelines.commands.materialize import materialize
from veclip_pipelines.commands.prune import prune
from veclip_pipelines.commands.report import report
from veclip_pipelines.commands.trace import trace
from veclip_pipelines.errors import VeclipError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(crawl.app, name="crawl")
app.add_typer(takedown.app, name="takedown")
app.add_typer(services.cluster, name="cluster")
app.add_typer(services.models, name="models")
for command in (
    demo,
    materialize,
    backfill,
    export,
    experiment,
    trace,
    diff,
    report,
    prune,
    audit,
    services.engines,
    services.serve,
    services.ui,
    services.env,
):
    app.command()(command)
app.command("eval")(evaluate)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn crawled image-text data into better CLIP models, with every caption traceable."""
    del version
    # Warnings of Dagster and its libraries about beta or deprecated features are for us, not for whoever runs a
    # command.
    warnings.simplefilter("ignore")


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs one command: a VeclipError is printed as a message, anything else is a bug and shows its traceback.

    Args:
        arguments: those of this process by default.
    """
    try:
        app(arguments)
    except VeclipError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)


def main() -> None:
    """Entry point of the program."""
    # SIGTERM ends a command like Ctrl-C: what it started is stopped. nohup and & leave SIGINT ignored, and a cancel
    # would be lost.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
