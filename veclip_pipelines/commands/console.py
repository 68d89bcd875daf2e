"""How the command line speaks: rich tables and bars in a terminal, plain text elsewhere, JSON where it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    from assets.launching import RunDone, StepSeen

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
        table.add_row(*(escape(_printable(cell)) for cell in row))
    out.print(table)
    out.print()


def rows_as_json(rows: Sequence[Mapping[str, Any]]) -> None:
    print_json([dict(row) for row in rows])


@contextmanager
def run_progress(title: str, steps: int) -> Iterator[_RunProgress]:
    """Shows the steps of a run as they come: a bar in a terminal, a line a step elsewhere."""
    progress = _RunProgress(title, steps)
    with progress:
        yield progress


class _RunProgress:
    def __init__(self, title: str, steps: int) -> None:
        self._bar: Progress | None = None
        self._title = title
        self._steps = steps
        self._running: list[str] = []
        if out.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=out,
            )
            self._task = self._bar.add_task(title, total=steps)

    def __enter__(self) -> _RunProgress:
        if self._bar:
            self._bar.start()
        else:
            say(self._title)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def watch(self, seen: StepSeen) -> None:
        """Takes in what the run's log shows."""
        if seen.state == "started":
            self._running.append(seen.step)
        elif seen.step in self._running:
            self._running.remove(seen.step)
        if self._bar:
            running = f" ({', '.join(self._running)})" if self._running else ""
            self._bar.update(self._task, description=self._title + running, advance=int(seen.state == "done"))
        elif seen.state == "done":
            say(f"  {seen.step}: {seen.seconds:.1f} s")
        elif seen.state == "failed":
            say(f"  {seen.step}: FAILED")


def describe_failure(done: RunDone) -> str:
    """What a failed run is told as: the innermost error, and where the rest is."""
    reason = (
        done.error.partition(": ")[2] if done.error.startswith(("veclip_pipelines.errors.", "dagster.")) else done.error
    )
    return f"{reason or 'the run failed'}\nThe whole log is in the Dagster UI (veclip ui), run {done.run_id}."


def _printable(cell: object) -> str:
    """Control characters and terminal escapes of foreign text are not sent to the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in str(cell))
