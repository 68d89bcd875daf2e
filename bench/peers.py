"""The peers' own environments: made once, never mixed with the project's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Environment:
    """A virtual environment of some peers.

    Attributes:
        installs: arguments of one pip call each, in their order.
    """

    name: str
    installs: tuple[tuple[str, ...], ...]

    def python(self) -> Path:
        """Its Python; the environment is made where it is missing."""
        venv = _ROOT / self.name
        python, ready = venv / "bin" / "python", venv / "ready"
        if not ready.exists():
            subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
            for packages in self.installs:
                pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                subprocess.run([*pip, *packages], check=True)
            ready.touch()
        return python

    def run(self, script: Path, *arguments: str) -> dict[str, Any]:
        """Runs a script, which may import this repository's packages; its last line of output is JSON."""
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        done = subprocess.run(
            [str(self.python()), str(script), *arguments], check=False, capture_output=True, text=True, env=environment
        )
        if done.returncode:
            raise RuntimeError(f"{script.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


CRAWL = Environment(
    ".venv-peers",
    (
        ("img2dataset==1.47.0", "cc2dataset==1.5.0", "fastwarc==2.0.1", "pillow==13.0.0"),
        #: img2dataset asks for an older webdataset; the one that is measured is the newest, which img2dataset does not mind.
        ("--no-deps", "webdataset==1.0.2"),
    ),
)
#: torchvision's released wheels fail beside the CPU build of torch: here is the CUDA build, 5.6 GB, which runs on processors.
VISION = Environment(
    ".venv-peers-vision",
    (
        ("torch==2.14.1", "torchvision==0.29.1"),
        (
            "open_clip_torch==3.3.0",
            "clip-benchmark==1.6.2",
            #: The newest that open_clip's loader reads.
            "webdataset==0.2.86",
            "transformers==5.24.0",
            "pydantic>=2.10",
            "pyyaml",
            "pandas",
            "requests",
            #: CLIP_benchmark takes arrays of one value for numbers, which numpy 2.4 refuses.
            "numpy<2.4",
        ),
    ),
)
DATASETS = Environment(".venv-peers-datasets", (("datasets>=4.0", "pillow"),))
TENSORFLOW = Environment(".venv-peers-tf", (("tensorflow-cpu>=2.19", "numpy"),))


def run_peer(script: str, *arguments: str, environment: Environment = CRAWL) -> dict[str, Any]:
    """Runs a script of bench/peer_scripts in a peers' environment; its last line of output is JSON."""
    return environment.run(Path(__file__).parent / "peer_scripts" / script, *arguments)
