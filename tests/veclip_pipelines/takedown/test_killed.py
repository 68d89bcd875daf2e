"""A takedown that was killed at any point is finished by carrying it out again, with the same result as one that was not killed."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders import picture
from lineage_story import CHECKPOINT, tell, tell_provenance

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.export.exported_samples import note_export, note_page
from veclip_pipelines.export.webdataset import export_webdataset
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.execution import carry_out, unfinished
from veclip_pipelines.takedown.register import find_takedown, register
from veclip_pipelines.takedown.requests import read_requests
from veclip_pipelines.takedown.verification import verify

URL = "https://www.pictures.example:443/2.png"
#: Does it, and is killed before or after a call that changes something, at the Nth of these points; says how many there are at its end.
CHILD = """
import os, signal, sys
from veclip_pipelines.crawl import erasing
from veclip_pipelines.export import webdataset
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown import copies, execution, provenance_edits, register, table_rewrites
from veclip_pipelines.takedown.requests import read_requests

left = int(sys.argv[1])
done = 0

def point():
    global done
    done += 1
    if done == left:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(call):
    def wrapper(*arguments, **named):
        point()
        result = call(*arguments, **named)
        point()
        return result
    return wrapper

for module, names in (
    (register, ("append_new", "replace_partition")), (table_rewrites, ("claim_file", "write_file", "replace_partition")),
    (provenance_edits, ("record",)), (erasing, ("zero_ranges", "blank_rows")), (copies.shutil, ("rmtree",)),
    (webdataset, ("put_bytes", "_rewrite_without")), (copies.Path, ("unlink",)),
):
    for name in names:
        setattr(module, name, counted(getattr(module, name)))
settings = Settings.from_env()
warehouse = Warehouse.at(settings.warehouse)
takedown, _ = register.register(warehouse, read_requests([sys.argv[2]]), by="someone", reason="asked", keep_days=0)
execution.carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-1")
print(done)
"""
STATE = {
    "raw_crawl": "SELECT * FROM raw_crawl ORDER BY ALL",
    "concept_captions": "SELECT * FROM concept_captions ORDER BY ALL",
    "vecap": "SELECT * FROM vecap ORDER BY ALL",
    "training_sets": "SELECT * FROM training_sets ORDER BY ALL",
    "set_pins": "SELECT recipe, set_version, content_version, rebuilt_version, takedowns FROM set_pins ORDER BY ALL",
    "taints": "SELECT * FROM taints ORDER BY ALL",
    "tombstones": "SELECT * FROM tombstones ORDER BY ALL",
    "provenance": "SELECT asset, partition, inputs, data_version, rows_kept, rows_rejected FROM provenance ORDER BY ALL",
    # A sidecar may have been blank already.
    "erasures": "SELECT step, place, state, if(step = 'source', '', what), count FROM erasures WHERE step <> 'old_file' ORDER BY ALL",
}


def run_child(after: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(after), URL], capture_output=True, text=True, timeout=120, check=False
    )


def state(warehouse: Warehouse, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {name: read_rows(warehouse, sql, tables=[name]) for name, sql in STATE.items()}
    for name in ("drop", "export"):
        found[name] = {path.name: path.read_bytes() for path in sorted((folder / name).glob("*")) if path.is_file()}
    # Data files of other names than those of an undisturbed run may come and go: whether one is left, verify says.
    found["old_files"] = read_rows(
        warehouse,
        "SELECT DISTINCT regexp_extract(place, '.*/') AS folder, state FROM erasures WHERE step = 'old_file' ORDER BY ALL",
        tables=["erasures"],
    )
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_anywhere_it_ends_as_undisturbed(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> None:
    version = tell(tmp_path, settings, warehouse)
    tell_provenance(warehouse)
    # A training that ended took its samples away; another was killed.
    (settings.checkpoints / ".training-x").mkdir()
    (settings.checkpoints / CHECKPOINT / "samples.arrow").rename(settings.checkpoints / ".training-x" / "samples.arrow")
    note_export(warehouse, "r", version, "webdataset", str(tmp_path / "export"), "someone")
    export_webdataset(warehouse, "r", version, tmp_path / "export", per_shard=3)
    page = tmp_path / "home" / "page.html"
    note_page(warehouse, str(page), "someone")
    page.write_text(hashlib.sha256(picture(2)).hexdigest())
    kept = {name: tmp_path / f"{name}-before" for name in ("home", "drop", "export")}
    for name, copy in kept.items():
        shutil.copytree(tmp_path / name, copy)
    whole = run_child(0)
    assert whole.returncode == 0, whole.stderr
    expected, points = state(warehouse, tmp_path), int(whole.stdout)
    assert points > 60
    # All of them where there is time.
    every = 1 if os.environ.get("VECLIP_TEST_FULL") else 19
    for after in range(1, points + 1, every):
        for name, copy in kept.items():
            shutil.rmtree(tmp_path / name)
            shutil.copytree(copy, tmp_path / name)
        killed = run_child(after)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        # As the command line does it: written down again, which changes nothing, and carried out.
        takedown, _ = register(warehouse, read_requests([URL]), by="someone", reason="asked", keep_days=0)
        # The last point is after all that it does.
        open_ = [find_takedown(warehouse, takedown.takedown_id)] if after < points else []
        assert unfinished(warehouse) == open_
        carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-2")
        found = state(warehouse, tmp_path)
        for name, rows in expected.items():
            assert found[name] == rows, f"{name}, killed after {after} of {points}"
        assert unfinished(warehouse) == []
        verified = verify(warehouse, settings)
        assert [one for one in verified.remnants if "-before" not in one.uri] == []
