"""The built wheel in a clean environment: its own files, none of the checkout's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from builders import numbered_entries, write_drop

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_the_wheel_works_outside_the_checkout(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        check=True, capture_output=True, timeout=200,
    )  # fmt: skip
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    # The experiment's captioner is this project's own; no other weights and no pictures.
    weights = [name for name in names if name.endswith(".safetensors")]
    assert weights == ["veclip_pipelines/experiment/captioner_model/model.safetensors"]
    assert not [name for name in names if name.startswith(("tests/", "bench/")) or name.endswith((".png", ".jpg"))]
    environment = tmp_path / "venv"
    venv.create(environment)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True, timeout=200)
    # The dependencies are those of this environment: a plain path in a .pth brings packages, and no editable install of ours.
    site = next((environment / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    drop = write_drop(tmp_path / "crawl-1", numbered_entries(3))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("VECLIP_", "PYTHON", "DAGSTER"))}
    env |= {"VECLIP_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = run(
        str(python),
        "-c",
        "import veclip_pipelines, assets, resources; print(veclip_pipelines.__file__, assets.__file__)",
    )
    assert str(ROOT) not in where
    veclip = str(environment / "bin" / "veclip")
    assert "tagger" in run(veclip, "engines")
    run(veclip, "crawl", "add", str(drop))
    assert json.loads(run(veclip, "crawl", "list", "--json"))[0]["entries"] == 3
    assert (tmp_path / "home" / "dagster_home" / "dagster.yaml").read_text() == (
        ROOT / "dagster_home" / "dagster.yaml"
    ).read_text()
    templates = (
        "from pathlib import Path; import veclip_pipelines.serving as s; "
        "print(*sorted(path.name for path in Path(s.__file__).parent.glob('templates/*.html')))"
    )
    ours = sorted(path.name for path in (ROOT / "veclip_pipelines" / "serving" / "templates").glob("*.html"))
    assert run(str(python), "-c", templates).split() == ours
    assert "report.html" in ours
