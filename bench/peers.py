"""The peers' own environment, .venv-peers: made once, never mixed with the project's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_VENV = _ROOT / ".venv-peers"
_PACKAGES = ("img2dataset==1.47.0", "cc2dataset==1.5.0", "fastwarc==2.0.1", "pillow==13.0.0")
#: img2dataset asks for an older webdataset; the one that is measured is the newest, which img2dataset does not mind.
_WITHOUT_DEPENDENCIES = ("webdataset==1.0.2",)


def peer_python() -> Path:
    """Python of the peers' environment, which is made where it is missing."""
    python, ready = _VENV / "bin" / "python", _VENV / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_VENV)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *_PACKAGES], check=True)
        subprocess.run([*pip, "--no-deps", *_WITHOUT_DEPENDENCIES], check=True)
        ready.touch()
    return python


def run_peer(script: str, *arguments: str) -> dict[str, Any]:
    """Runs a script of bench/peer_scripts in the peers' environment; its last line of output is JSON."""
    command = [str(peer_python()), str(Path(__file__).parent / "peer_scripts" / script), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
