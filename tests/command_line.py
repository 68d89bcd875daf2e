"""The command line as tests call it: as a process if it is killed, signalled or watched from its start, else in this process.

A command in this process saves starting Python and importing Dagster and torch, 3 to 6 s each time. What a process would not keep
from one command to the next is restored afterwards: the environment, warnings, the standard streams.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from typer.testing import CliRunner

from veclip_pipelines import cli

PROGRAM = (sys.executable, "-m", "veclip_pipelines.cli")

Done = subprocess.CompletedProcess[str]


def call(*arguments: str, **env: str) -> Done:
    """Runs a command in this process, as ``veclip_pipelines.cli.main`` does; a bug is a traceback and exit code 1, as of a process.

    Args:
        env: variables on top of this process's own.
    """
    _import_what_keeps_streams()
    with _kept_environment(), warnings.catch_warnings(), CliRunner().isolation() as (stdout, stderr, _):
        os.environ.update(env)
        code = 0
        try:
            cli.run(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        return Done([*PROGRAM, *arguments], code, stdout.getvalue().decode(), stderr.getvalue().decode())


def process(*arguments: str, seconds: float = 280, **env: str) -> Done:
    """Runs a command as a process of its own."""
    return subprocess.run(
        [*PROGRAM, *arguments], capture_output=True, text=True, timeout=seconds, check=False, env={**os.environ, **env}
    )


@contextmanager
def _kept_environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _import_what_keeps_streams() -> None:
    """Their loggers keep the standard error that there is when they are imported, and would keep a command's."""
    import distributed  # noqa: F401
    from absl import logging

    import veclip_pipelines.definitions  # noqa: F401

    # Dagster shuts all handlers down when it sets up a run's logs, and absl's would close a standard error that is not the present
    # one: pytest's.
    logging.get_absl_handler().python_handler.stream = sys.__stderr__
