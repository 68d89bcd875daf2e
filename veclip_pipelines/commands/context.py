"""What every command starts from: the settings, the warehouse and, to change data, the launcher."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from veclip_pipelines.commands.console import describe_failure
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import VeclipError

if TYPE_CHECKING:
    from assets.orchestration.job_runs import RunDone
    from assets.orchestration.launching import Launcher
    from veclip_pipelines.tables.warehouse import Warehouse


def settings() -> Settings:
    return Settings.from_env()


def warehouse() -> Warehouse:
    from veclip_pipelines.tables.warehouse import Warehouse

    return Warehouse.at(settings().warehouse)


def launcher() -> Launcher:
    """Imports Dagster, which takes a second: commands that only read do not need it.

    Raises:
        VeclipError: VECLIP_HOME or the warehouse cannot be written. Then nothing was launched.
    """
    check_writable()
    from assets.orchestration.launching import Launcher

    return Launcher(settings(), warehouse(), user())


def user() -> str:
    """Who launches: user and machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def write_page(target: Path, page: str, recipe: str = "", set_version: str = "") -> Path:
    """Writes a page with pictures and texts in it. It is recorded first, so that later takedowns reach it, too."""
    from veclip_pipelines.export.exported_samples import note_page

    place = target.expanduser().resolve()
    note_page(warehouse(), str(place), user(), recipe, set_version)
    place.write_text(page, "utf-8")
    return place


def require_success(done: RunDone | None) -> None:
    """Raises VeclipError for a run that failed."""
    if done is not None and not done.success:
        raise VeclipError(describe_failure(done))


def check_writable() -> None:
    """Raises VeclipError where VECLIP_HOME or a warehouse in a folder cannot be written to."""
    places = [settings().home]
    if warehouse().is_local:
        places.append(Path(warehouse().root))
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
            probe = place / f".veclip-writable-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise VeclipError(
                f"cannot write to {place}: {error}. Set VECLIP_HOME or VECLIP_WAREHOUSE to a place that can be written."
            ) from error
