"""The pages: every stranger's text is escaped, only pictures and text are served, only loopback names are answered."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from builders import DropEntry, index, numbered_entries, picture, write_drop
from PIL import Image
from starlette.testclient import TestClient

from veclip_pipelines.captioning.guard_rates import GuardCounts
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.crawl.duplicates import find_duplicates
from veclip_pipelines.schemas.crawl_schemas import VECAP
from veclip_pipelines.schemas.training_schemas import BENCHMARK_SCORES, CHECKPOINTS
from veclip_pipelines.serving.app import build_app
from veclip_pipelines.tables.commit import append_new, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.provenance import Provenance, record
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">'


@pytest.fixture
def client(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> TestClient:
    entries = [DropEntry(EVIL, picture(1)), *numbered_entries(30, first=5), DropEntry("half", b"x")]
    drop = inspect_drop(str(write_drop(tmp_path / "drop", entries)))
    index(warehouse, drop, "crawl-1")
    return TestClient(build_app(settings, warehouse), base_url="http://127.0.0.1:3080")


def test_foreign_text_is_escaped(client: TestClient) -> None:
    page = client.get("/partitions/crawl-1")
    assert page.status_code == 200
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script" not in page.text
    assert "onerror=&#34;" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


def test_rejects_are_shown_escaped_with_a_plot(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> None:
    """What a drop's own record says of a failure is a stranger's text, too."""
    failed = DropEntry("x", None, status=EVIL, error=EVIL)
    index(warehouse, write_drop(tmp_path / "drop", [*numbered_entries(2), failed, DropEntry("half", b"x")]), "crawl-1")
    client = TestClient(build_app(settings, warehouse), base_url="http://127.0.0.1:3080")
    page = client.get("/partitions/crawl-1/rejects")
    assert page.status_code == 200
    assert "not_a_picture" in page.text
    assert "<script" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    plot = Image.open(io.BytesIO(client.get("/partitions/crawl-1/rejects.png").content))
    assert plot.format == "PNG"
    assert Image.open(io.BytesIO(client.get("/partitions/none/rejects.png").content)).format == "PNG"


def test_what_guards_objected_to_is_shown_escaped_with_a_plot(settings: Settings, warehouse: Warehouse) -> None:
    partition = {"crawl_partition": "crawl-1", "engine_id": "e"}
    rows: list[dict[str, object]] = [
        {
            "sample_id": f"{number:032x}", "input_hash": "h", "text": "a cat", "route": "template", "reason": "invented",
            "engine_text": EVIL, "faults": ["invented", "refusal"], "attempts": 2, "outcome": "kept",
        }
        for number in range(7)
    ]  # fmt: skip
    file = write_file(warehouse, VECAP, partition, "f", table_of(VECAP, rows))
    replace_partition(warehouse, VECAP, partition, [file], expected=frozenset(), properties={})
    guards = GuardCounts("crawl-1", 7, {"invented": 7, "refusal": 7}).as_json()
    record(
        warehouse,
        Provenance(
            asset="vecap", partition="crawl-1", run_id="r", inputs={"engine": "e"}, data_version="d", delta_version=1, files=(),
            rows_in=7, rows_kept=7, rows_rejected=0, seconds=1.0, code_version="1", launched_by="me", guards=guards,
        ),
    )  # fmt: skip
    client = TestClient(build_app(settings, warehouse), base_url="http://127.0.0.1:3080")
    page = client.get("/partitions/crawl-1/guards/vecap")
    assert page.status_code == 200
    assert "invented, 7 rows" in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script" not in page.text
    assert page.text.count("by template") == 10
    assert Image.open(io.BytesIO(client.get("/partitions/crawl-1/guards/vecap.png").content)).format == "PNG"
    assert client.get("/partitions/crawl-1/guards/engines").status_code == 404
    assert "No guard objected" in client.get("/partitions/none/guards/concept_captions").text


def test_duplicates_are_shown_side_by_side(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> None:
    entries = [DropEntry(f"copy {number}", picture(1), url=f"https://x.example/{number}") for number in range(3)]
    index(warehouse, write_drop(tmp_path / "drop", [*entries, DropEntry("another", picture(14))]), "crawl-1")
    client = TestClient(build_app(settings, warehouse), base_url="http://127.0.0.1:3080")
    assert client.get("/duplicates").status_code == 200
    find_duplicates(warehouse, 0, properties={})
    page = client.get("/duplicates").text
    assert "3 samples" in page
    assert page.count("the same bytes") == 2
    assert Image.open(io.BytesIO(client.get("/duplicates.png").content)).format == "PNG"


def test_pages_turn(client: TestClient) -> None:
    first, second = client.get("/partitions/crawl-1"), client.get("/partitions/crawl-1?page=2")
    assert (first.text.count("<tr>"), second.text.count("<tr>")) == (26, 7)
    assert client.get("/partitions/crawl-1?page=0").status_code == 400
    assert client.get("/partitions/crawl-1?page=x").status_code == 400


def test_the_contact_sheet_is_a_picture_of_twelve_rows(client: TestClient) -> None:
    response = client.get("/partitions/crawl-1.png")
    image = Image.open(io.BytesIO(response.content))
    assert (response.headers["content-type"], image.format) == ("image/png", "PNG")
    assert image.height == 30 + 12 * 116


def test_pictures_are_encoded_anew(client: TestClient, warehouse: Warehouse) -> None:
    sha256 = read_rows(
        warehouse, "SELECT image_sha256 FROM raw_crawl WHERE outcome = 'kept' LIMIT 1", tables=["raw_crawl"]
    )[0]["image_sha256"]
    response = client.get(f"/pictures/{sha256}.jpg")
    assert Image.open(io.BytesIO(response.content)).format == "JPEG"
    rejected = read_rows(
        warehouse, "SELECT image_sha256 FROM raw_crawl WHERE outcome = 'rejected'", tables=["raw_crawl"]
    )[0]["image_sha256"]
    assert client.get(f"/pictures/{rejected}.jpg").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/partitions/none",
        "/recipes/none",
        "/checkpoints/none/loss.png",
        "/pictures/none.jpg",
        "/../../etc/passwd",
        "/partitions/%27%3B--",
    ],
)
def test_what_is_not_there_is_404(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_other_host_names_and_writes_are_refused(settings: Settings, warehouse: Warehouse) -> None:
    app = build_app(settings, warehouse)
    assert TestClient(app, base_url="http://evil.example").get("/").status_code == 400
    assert TestClient(app, base_url="http://localhost:3080").get("/").status_code == 200
    assert TestClient(app, base_url="http://127.0.0.1").post("/").status_code == 405


def test_an_empty_warehouse_says_what_to_do(settings: Settings, warehouse: Warehouse) -> None:
    client = TestClient(build_app(settings, warehouse), base_url="http://127.0.0.1")
    assert "veclip crawl add" in client.get("/").text
    assert client.get("/scores.png").status_code == 200


def test_recipe_page_and_plots(settings: Settings, warehouse: Warehouse, tmp_path: Path) -> None:
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "ckpt"
    folder.mkdir()
    pq.write_table(
        pa.table({"step": [0, 1], "epoch": [0, 0], "loss": [3.0, 2.0], "learning_rate": [0.1, 0.2]}),
        folder / "history.parquet",
    )
    now = datetime.datetime.now(datetime.UTC)
    row = {"checkpoint_id": "c1", "recipe": "mixed", "set_version": "v", "uri": str(folder), "weights_sha256": "w", "mlflow_run_id": "m",
           "settings": "{}", "samples": 2, "steps": 2, "final_loss": 2.0, "trained_at": now, "run_id": "r"}  # fmt: skip
    append_new(warehouse, CHECKPOINTS, [row], properties={})
    score = {"checkpoint_id": "c1", "recipe": "mixed", "benchmark": "b", "benchmark_sha256": "s", "metric": "image_to_text_recall@1",
             "value": 0.5, "queries": 2, "code_version": "1", "scored_at": now, "run_id": "r"}  # fmt: skip
    append_new(warehouse, BENCHMARK_SCORES, [score], properties={})
    client = TestClient(build_app(settings, warehouse), base_url="http://127.0.0.1")
    page = client.get("/recipes/mixed")
    assert page.status_code == 200
    assert "50.0 %" in page.text
    for path in ("/checkpoints/c1/loss.png", "/scores.png", "/recipes/mixed/texts.png"):
        assert Image.open(io.BytesIO(client.get(path).content)).format == "PNG"
