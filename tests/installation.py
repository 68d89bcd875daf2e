"""One installation of the platform, which end-to-end tests drive by its command line."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from command_line import PROGRAM, Done, call, process

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.tables.warehouse import Warehouse

CONCEPT = ("--concept-engine", "seer")
ENGINES = (*CONCEPT, "--fusion-engine", "mine")


@dataclass(frozen=True)
class Installation:
    """One VECLIP_HOME and how to call the command line in it."""

    settings: Settings
    warehouse: Warehouse

    def veclip(self, *arguments: str, succeeds: bool = True) -> Done:
        """A command in this process."""
        return self._checked(call(*arguments), succeeds)

    def process(self, *arguments: str, succeeds: bool = True, seconds: float = 280) -> Done:
        """A command as a process of its own."""
        return self._checked(process(*arguments, seconds=seconds), succeeds)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _checked(self, done: Done, succeeds: bool) -> Done:
        if succeeds:
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done

    def logs(self) -> str:
        """The end of each service's log, for a test that failed."""
        files = sorted((self.settings.home / "logs").glob("*.log")) if (self.settings.home / "logs").is_dir() else []
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in files)
