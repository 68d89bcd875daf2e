"""What the command line prints: rich tables and bars in a terminal, plain text elsewhere, JSON on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from assets.orchestration.job_runs import RunDone
    from assets.shared.run_log import StepSeen

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """One line of a message; its text is never read as markup."""
    out.print(escape(text), soft_wrap=True)


def print_json(value: object) -> None:
    out.print(json.dumps(value, ensure_ascii=False, indent=2, default=str), markup=False, soft_wrap=True)


def print_rows(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[str] = ()
) -> None:
    """A table: ruled in a terminal, aligned plain text elsewhere. Cells may hold foreign text."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        show_lines=False,
        box=None if not out.is_terminal else Table().box,
    )
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    out.print(table)
    out.print()


def rows_as_json(rows: Sequence[Mapping[str, Any]]) -> None:
    print_json([dict(row) for row in rows])


class ProgressBoard:
    """The steps of several runs as they happen: a bar per run in a terminal, a line per step elsewhere.

    If JSON is printed at the end, ``console`` is ``err``, so that only the JSON is piped on.
    """

    def __init__(self, console: Console = out) -> None:
        self._console = console
        self._bars: Progress | None = None
        if console.is_terminal:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bars = Progress(*columns, console=console)

    def __enter__(self) -> ProgressBoard:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.stop()

    def add(self, title: str, steps: int) -> Callable[[StepSeen], None]:
        """Adds a run, and returns the function that is called with its steps."""
        task = self._bars.add_task(title, total=steps) if self._bars else None
        running: list[str] = []

        def watch(seen: StepSeen) -> None:
            if seen.state == "started":
                running.append(seen.step)
            elif seen.state != "progress" and seen.step in running:
                running.remove(seen.step)
            if self._bars and task is not None:
                now = f" ({seen.message or ', '.join(running)})" if running else ""
                self._bars.update(task, description=title + now, advance=int(seen.state == "done"))
            elif seen.state == "done":
                self._say(f"{title}: {seen.step} {seen.seconds:.1f} s")
            elif seen.state == "failed":
                self._say(f"{title}: {seen.step} FAILED")
            elif seen.state == "progress":
                self._say(f"{title}: {seen.message}")

        return watch

    def _say(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)


def describe_failure(done: RunDone) -> str:
    """The message for a failed run: the innermost error, and where to find the rest."""
    reason = (
        done.error.partition(": ")[2] if done.error.startswith(("veclip_pipelines.errors.", "dagster.")) else done.error
    )
    return f"{reason or 'the run failed'}\nThe whole log is in the Dagster UI (veclip ui), run {done.run_id}."


def printable(cell: object) -> str:
    """Foreign text without control characters and terminal escapes, which must not reach the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in str(cell))
