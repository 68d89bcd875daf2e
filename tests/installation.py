"""One installation of the platform, as end-to-end tests drive it: by its command line."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.tables.warehouse import Warehouse

CONCEPT = ("--concept-engine", "seer")
ENGINES = (*CONCEPT, "--fusion-engine", "mine")


@dataclass(frozen=True)
class Installation:
    """One VECLIP_HOME and how to call the command line in it."""

    settings: Settings
    warehouse: Warehouse

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "veclip_pipelines.cli", *arguments]

    def veclip(self, *arguments: str, succeeds: bool = True, seconds: float = 280) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=seconds, check=False)
        if succeeds:
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def logs(self) -> str:
        """The end of each service's log, for a test that failed."""
        files = sorted((self.settings.home / "logs").glob("*.log")) if (self.settings.home / "logs").is_dir() else []
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in files)
