"""The demo as a newcomer runs it, with the real models: twice, and the second run computes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from installation import Installation

from veclip_pipelines.tables.query import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_demo_twice(installation: Installation, demo_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECLIP_MODELS", str(demo_models))
    first = installation.process("demo", seconds=800).stdout
    for heading in ("Rows by partition", "Six samples", "Recall in %", "Seconds by step"):
        assert heading in first
    for reason in ("truncated_picture", "not_a_picture", "failed_to_download", "repeat"):
        assert reason in first
    for recipe in ("alttext", "vecap", "mixed"):
        assert re.search(rf"^ *{recipe} +(\d+\.\d +){{5}}\d+\.\d", first, re.MULTILINE)
    assert "not quality" in first
    assert re.search(r"veclip ui$", first, re.MULTILINE)
    assert "mlflow ui --backend-store-uri" in first
    assert "\x1b" not in first
    routes = read_rows(installation.warehouse, "SELECT route, count(*) AS n FROM vecap GROUP BY 1", tables=["vecap"])
    counts = {row["route"]: row["n"] for row in routes}
    assert counts["engine"] >= 8
    assert counts["template"] >= 2
    assert counts["concept"] >= 4
    reused = read_rows(
        installation.warehouse,
        "SELECT count(*) AS rows, count(DISTINCT input_hash) AS pictures FROM concept_captions",
        tables=["concept_captions"],
    )
    assert reused == [{"rows": 33, "pictures": 32}]

    before = read_rows(installation.warehouse, "SELECT count(*) AS n FROM provenance", tables=["provenance"])
    second = installation.veclip("demo").stdout
    assert "no run was launched and nothing was computed again" in second
    assert read_rows(installation.warehouse, "SELECT count(*) AS n FROM provenance", tables=["provenance"]) == before
