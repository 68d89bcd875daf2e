"""Makes the pictures of the README: the project's own drawings through the real graph, and the Dagster UI in Chromium.

.venv/bin/python docs/make_images.py      (wants the demo's models and Debian's chromium)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from builders import DropEntry, write_drop  # noqa: E402

_SHAPES = ("circle", "square", "triangle")
_GROUNDS = {"meadow": "#6fae5b", "night": "#22304f", "beach": "#e8d3a3", "wall": "#b9b4ab"}
_COLOURS = {"red": "#c8323c", "yellow": "#f0c93a", "blue": "#2f62c9", "white": "#f4f4f2"}


def draw(shape: str, colour: str, ground: str) -> bytes:
    """A coloured shape on a ground, as PNG."""
    import io

    image = Image.new("RGB", (320, 240), _GROUNDS[ground])
    pen = ImageDraw.Draw(image)
    box = (100, 60, 220, 180)
    if shape == "circle":
        pen.ellipse(box, fill=_COLOURS[colour])
    elif shape == "square":
        pen.rectangle(box, fill=_COLOURS[colour])
    else:
        pen.polygon([(160, 50), (230, 180), (90, 180)], fill=_COLOURS[colour])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def entries() -> list[DropEntry]:
    """Drawings with AltText in the manner of the web, and two that are broken."""
    scenes = [(s, c, g) for s in _SHAPES for c in _COLOURS for g in _GROUNDS][::5]
    made = []
    for number, (shape, colour, ground) in enumerate(scenes):
        texts = (
            f"Ada's {shape} at the {ground}",
            f"IMG_{2040 + number}.png",
            f"{shape.title()} Wall Art - Free Shipping! | ShapeShop SKU SH-{100 + number}",
            f"a {shape} on the {ground}, drawn by hand",
        )
        made.append(
            DropEntry(texts[number % 4], draw(shape, colour, ground), url=f"https://shapes.example/{number}.png")
        )
    made.append(
        DropEntry(
            "a page that is no more", b"<!DOCTYPE html><html></html>", url="https://gone.example/", extension="jpg"
        )
    )
    made.append(DropEntry("timed out", None, "https://slow.example/", status="failed_to_download", error="timed out"))
    return made


def shoot(page: Page, url: str, target: Path, wait_for: str) -> None:
    page.goto(url)
    page.get_by_text(wait_for).first.wait_for(timeout=60_000)
    page.wait_for_timeout(5_000)
    page.screenshot(path=target)
    # 128 colours are enough for a screenshot, at a third of the bytes.
    Image.open(target).convert("P", palette=Image.Palette.ADAPTIVE, colors=128).save(target, optimize=True)


def main() -> None:
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    models = os.environ.get("VECLIP_MODELS", str(ROOT / "veclip_home" / "models"))
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "VECLIP_HOME": f"{folder}/home", "VECLIP_MODELS": models, "HF_HUB_OFFLINE": "1"}
        veclip = [sys.executable, "-m", "veclip_pipelines.cli"]
        drop = write_drop(Path(folder) / "shapes-2026-11", entries())
        subprocess.run([*veclip, "crawl", "add", str(drop)], env=env, check=True)
        subprocess.run(
            [*veclip, "materialize", "--partition", "shapes-2026-11", "--recipe", "mixed"], env=env, check=True
        )
        ui = subprocess.Popen(
            [*veclip, "ui", "--port", "3456", "--mlflow-port", "0"], env=env, stdout=subprocess.PIPE, text=True
        )
        try:
            assert ui.stdout is not None
            while "Ctrl-C" not in (line := ui.stdout.readline()):
                assert line, "the UI did not come up"
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
                )
                page = browser.new_page(viewport={"width": 1500, "height": 900})
                dagster, pages = "http://127.0.0.1:3456", env.get("VECLIP_SERVE_URL", "http://127.0.0.1:3080")
                lineage = "view=lineage&lineageScope=upstream&lineageDepth=9"
                shoot(page, f"{dagster}/assets/benchmark_scores?{lineage}", images / "lineage.png", "evaluation")
                url = f"{dagster}/assets/vecap?view=partitions&partition=shapes-2026-11"
                shoot(page, url, images / "partition.png", "preview_image")
                shoot(page, f"{pages}/partitions/shapes-2026-11", images / "preview.png", "concept caption")
                shoot(page, f"{pages}/partitions/shapes-2026-11/guards/vecap", images / "guards.png", "the engine said")
                shoot(page, f"{pages}/partitions/shapes-2026-11/rejects", images / "rejects.png", "examples")
                page.goto(f"{pages}/reports/mixed")
                page.locator("img.plot").first.screenshot(path=images / "card-lineage.png")
                browser.close()
        finally:
            ui.send_signal(signal.SIGINT)
            ui.wait(60)


if __name__ == "__main__":
    main()
