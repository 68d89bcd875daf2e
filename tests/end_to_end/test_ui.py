"""The Dagster UI in a real Chromium: the six assets are there, a partition is materialised by hand, and everything stops together."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from builders import numbered_entries, write_drop
from installation import Installation
from servers import free_port

from veclip_pipelines.tables.query import read_rows

pytestmark = pytest.mark.slow

SIX = ("raw_crawl", "concept_captions", "vecap", "training_sets", "checkpoints", "benchmark_scores")
_SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@dataclass(frozen=True)
class RunningUi:
    installation: Installation
    dagster: str
    mlflow: str
    pages: str


def chromium() -> str:
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed: apt-get install chromium")
    return found


@pytest.fixture
def running_ui(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningUi]:
    """``veclip ui`` with a drop registered, started as a person would; ended by SIGINT, and then nothing of it may be left."""
    chromium()
    ports = [free_port() for _ in range(3)]
    monkeypatch.setenv("VECLIP_SERVE_URL", f"http://127.0.0.1:{ports[2]}")
    installation.veclip("crawl", "add", str(write_drop(tmp_path / "by-hand", numbered_entries(4))))
    process = installation.start("ui", "--port", str(ports[0]), "--mlflow-port", str(ports[1]))
    family: list[psutil.Process] = []
    try:
        seen = ""
        deadline = time.monotonic() + 120
        assert process.stdout is not None
        while "Ctrl-C" not in seen:
            line = process.stdout.readline()
            assert line, f"ended early: {seen}{installation.logs()}"
            assert time.monotonic() < deadline, seen
            seen += line
        yield RunningUi(installation, *(f"http://127.0.0.1:{port}" for port in ports))
    finally:
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        finally:
            _, left = psutil.wait_procs(family, timeout=5)
            for survivor in left:
                survivor.kill()
    assert process.returncode == 0
    assert left == []
    assert len(family) >= 8
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_partition_is_materialised_in_the_browser(running_ui: RunningUi, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=_SWITCHES)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)

        page.goto(f"{running_ui.dagster}/asset-groups?expanded=all")
        for group in ("captions", "configuration", "crawl", "evaluation", "training"):
            expect(page.get_by_text(group, exact=True).first).to_be_visible()
        for asset in SIX:
            page.goto(f"{running_ui.dagster}/assets/{asset}")
            expect(page.get_by_text("data-engineering").first).to_be_visible()
            expect(page.get_by_text("Column name").first).to_be_visible()

        page.goto(f"{running_ui.dagster}/assets/raw_crawl")
        page.get_by_role("button", name=re.compile("Materialize")).first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="All", exact=True).click()
        expect(dialog.get_by_text("by-hand").first).to_be_visible()
        dialog.get_by_role("button", name=re.compile("Launch 1 run")).click()
        rows: list[dict[str, object]] = []
        deadline = time.monotonic() + 120
        while not rows and time.monotonic() < deadline:
            time.sleep(1)
            rows = read_rows(running_ui.installation.warehouse, "SELECT * FROM provenance", tables=["provenance"])
        assert [(row["asset"], row["partition"], row["launched_by"]) for row in rows] == [
            ("raw_crawl", "by-hand", "dagster-ui")
        ]

        page.goto(f"{running_ui.dagster}/assets/raw_crawl?view=partitions&partition=by-hand")
        expect(page.get_by_text("Materialized", exact=True).first).to_be_visible()
        image = page.locator(f"img[src^='{running_ui.pages}/partitions/by-hand.png']").first
        expect(image).to_be_visible()
        deadline = time.monotonic() + 30
        while not image.evaluate("image => image.naturalWidth") and time.monotonic() < deadline:
            time.sleep(0.5)
        assert image.evaluate("image => image.naturalWidth") > 500
        page.goto(f"{running_ui.dagster}/runs")
        expect(page.get_by_text("Success").first).to_be_visible()
        page.goto(f"{running_ui.pages}/partitions/by-hand")
        expect(page.get_by_text("shape number 3 on the table")).to_be_visible()
        browser.close()

    with urllib.request.urlopen(running_ui.mlflow, timeout=20) as response:
        assert response.status == 200
