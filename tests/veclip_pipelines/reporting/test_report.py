"""A data card says what the tables hold, as a page, as Croissant and as OpenLineage, and never renders a stranger's text as HTML."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mlcroissant
import pyarrow.parquet as pq
import pytest
from builders import picture
from lineage_story import CHECKPOINT, EVIL, EYE, HAND, tell, tell_provenance
from starlette.testclient import TestClient

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import UsageError, VeclipError
from veclip_pipelines.export.exported_samples import note_page
from veclip_pipelines.lineage.graph import find_subject, lineage_graph
from veclip_pipelines.reporting.card import Card, card_json, data_card
from veclip_pipelines.reporting.croissant import croissant
from veclip_pipelines.reporting.openlineage_events import events, send
from veclip_pipelines.schemas.training_schemas import TRAINING_SETS
from veclip_pipelines.serving.app import build_app
from veclip_pipelines.serving.lineage_picture import boxes_of, lineage_svg
from veclip_pipelines.serving.standalone_pages import report_page
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.execution import carry_out
from veclip_pipelines.takedown.register import register
from veclip_pipelines.takedown.requests import Request


@pytest.fixture
def version(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> str:
    made = tell(tmp_path, settings, warehouse)
    tell_provenance(warehouse)
    return made


@pytest.fixture
def card(version: str, warehouse: Warehouse) -> Card:
    return data_card(warehouse, find_subject(warehouse, "r"))


def test_what_is_meant(version: str, warehouse: Warehouse) -> None:
    assert find_subject(warehouse, "r") == find_subject(warehouse, f"r@{version}") == find_subject(warehouse, version)
    assert find_subject(warehouse, CHECKPOINT).name == CHECKPOINT
    with pytest.raises(UsageError, match="no training set and no checkpoint"):
        find_subject(warehouse, "no such thing")


def test_the_graph_goes_from_the_drop_to_the_scores(version: str, warehouse: Warehouse) -> None:
    graph = lineage_graph(warehouse, find_subject(warehouse, "r"))
    names = [one.asset for one in graph.made]
    assert names == ["raw_crawl", "concept_captions", "vecap", "training_sets", "checkpoints", "benchmark_scores"]
    edges = {(names[left], names[right]) for left, right in graph.edges}
    assert edges == {
        ("raw_crawl", "concept_captions"), ("raw_crawl", "vecap"), ("concept_captions", "vecap"), ("raw_crawl", "training_sets"),
        ("vecap", "training_sets"), ("training_sets", "checkpoints"), ("checkpoints", "benchmark_scores"),
    }  # fmt: skip
    assert set(graph.engines) == {EYE, HAND}
    boxes, arrows = boxes_of(graph)
    assert len(boxes) == 6 + 1 + 2
    assert len(arrows) == 7 + 1 + 2
    svg = lineage_svg(graph)
    assert svg == lineage_svg(graph)
    assert b"concept_captions" in svg
    assert b"text 2" not in svg


def test_counts(card: Card, version: str) -> None:
    assert (card.counts["rows"], card.counts["pictures"], card.counts["rejected"]) == (7, 6, 0)
    (source,) = card.sources
    assert (source["crawl_partition"], source["entries"], source["kept"], source["samples"], source["registered_by"]) == (
        "crawl-1", 8, 7, 7, "someone",
    )  # fmt: skip
    assert [(row["stage"], row["reason"], row["rows"], row["of_rows"]) for row in card.stages] == [
        ("raw_crawl", "not_a_picture", 1, 8)
    ]
    assert {(row["table"], row["profile"], row["rows"]) for row in card.guards} == {
        ("concept_captions", "eye", 6), ("vecap", "hand", 7),
    }  # fmt: skip
    # The set takes no concept caption, but what it takes was fused with them.
    eye = next(row for row in card.guards if row["profile"] == "eye")
    assert eye["faults"] == [{"what": "cut", "share": 0.5}]
    assert [(row["value"], row["samples"]) for row in card.domains] == [
        ("www.pictures.example", 6),
        ("pictures.example", 1),
    ]
    assert sum(row["samples"] for row in card.languages) == 7
    assert len(card.samples) == 7
    assert [text.source for text in card.parts[0].texts] == ["alt_text", "vecap"]
    told = json.loads(json.dumps(card_json(card), default=str))
    assert told["subject"] == {"recipe": "r", "set_version": version, "checkpoint_id": None}
    assert [engine["prompt_text"] for engine in told["engines"]] == ["words of concept@2", "words of fusion@1"]
    assert told["scores"][0]["value"] == 0.25


def test_licences_are_those_that_the_drop_states(
    version: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_card(warehouse, find_subject(warehouse, "r")).licences == [{"value": None, "samples": 7}]


def test_the_page_holds_all_and_runs_nothing(card: Card, warehouse: Warehouse) -> None:
    page = report_page(warehouse, card)
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert page.count("data:image/jpeg;base64,") == 7
    assert page.count("data:image/svg+xml;base64,") == 1
    assert "http://" not in page.replace("http://www.w3.org", "")
    for word in ("words of concept@2", "not_a_picture", "25.0 %", CHECKPOINT, card.version, "www.pictures.example"):
        assert word in page


def test_without_samples_there_is_no_text_and_no_picture_of_one(version: str, warehouse: Warehouse) -> None:
    page = report_page(warehouse, data_card(warehouse, find_subject(warehouse, CHECKPOINT), samples=0))
    assert "image/jpeg;base64" not in page
    assert "text 2" not in page
    assert "fused " not in page
    assert f"Checkpoint {CHECKPOINT}" in page


def test_croissant_is_valid_and_its_records_are_the_sets(card: Card, warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "croissant.json"
    path.write_text(json.dumps(croissant(warehouse, card), default=str), "utf-8")
    dataset = mlcroissant.Dataset(path)
    assert not dataset.metadata.ctx.issues.errors
    (file,) = dataset.metadata.distribution
    assert file.sha256 == hashlib.sha256(Path(file.content_url).read_bytes()).hexdigest()
    records = [{name.rpartition("/")[2]: value for name, value in row.items()} for row in dataset.records("samples")]
    rows = pq.read_table(file.content_url, partitioning=None).to_pylist()
    assert [row["sample_id"].decode() for row in records] == [row["sample_id"] for row in rows]
    assert [row["probabilities"] for row in records] == [row["probabilities"] for row in rows]
    texts = [
        [{name.rpartition("/")[2]: value and value.decode() for name, value in one.items()} for one in row["texts"]]
        for row in records
    ]
    assert texts == [row["texts"] for row in rows]
    assert {one["source"] for one in texts[0]} == {"alt_text", "vecap"}
    assert dataset.metadata.name == f"r@{card.version}"


def test_openlineage_names_every_input_with_its_version(card: Card, warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("of before\n")
    send(events(warehouse, card.graph), str(path))
    told = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [event["job"]["name"] for event in told] == [one.asset for one in card.graph.made]
    vecap = told[2]
    names = {item["name"].removeprefix(f"{warehouse.root}/") for item in vecap["inputs"]}
    assert names == {"raw_crawl/crawl-1", f"concept_captions/crawl-1/{EYE}", f"hand@{HAND}"}
    (output,) = vecap["outputs"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 7
    assert output["facets"]["version"]["datasetVersion"] == card.graph.made[2].data_version
    fused_from = {
        (item["name"].rpartition("warehouse/")[2].partition("/")[0], item["field"])
        for item in output["facets"]["columnLineage"]["fields"]["text"]["inputFields"]
    }
    assert fused_from == {("raw_crawl", "alt_text"), ("concept_captions", "text")}
    assert len({event["run"]["runId"] for event in told}) == 6
    assert "text 2" not in path.read_text("utf-8")


@pytest.fixture
def catalogue() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A server that takes OpenLineage events in, as Marquez does."""
    taken: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            taken.append({"path": self.path, **body})
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_openlineage_to_a_catalogue(
    card: Card, warehouse: Warehouse, catalogue: tuple[str, list[dict[str, object]]]
) -> None:
    url, taken = catalogue
    send(events(warehouse, card.graph), url)
    assert [event["path"] for event in taken] == ["/api/v1/lineage"] * 6
    with pytest.raises(VeclipError, match="could not be sent"):
        send(events(warehouse, card.graph), "/nowhere/at/all/events.jsonl")


def test_the_served_card(version: str, settings: Settings, warehouse: Warehouse) -> None:
    client = TestClient(build_app(settings, warehouse), base_url="http://127.0.0.1")
    page = client.get(f"/reports/r@{version}")
    assert page.status_code == 200
    assert EVIL not in page.text
    assert f"/reports/r%40{version}/lineage.svg" in page.text
    picture_ = client.get(f"/reports/r@{version}/lineage.svg")
    assert (picture_.status_code, picture_.headers["content-type"]) == (200, "image/svg+xml")
    assert client.get("/reports/nothing").status_code == 404
    assert "/reports/r@" in client.get("/recipes/r").text or client.get("/recipes/r").status_code == 200


def test_a_card_that_shows_what_was_taken_down_goes(
    version: str, settings: Settings, warehouse: Warehouse, tmp_path: Path
) -> None:
    shown, bare = tmp_path / "card.html", tmp_path / "bare.html"
    for path, samples in ((shown, 12), (bare, 0)):
        note_page(warehouse, str(path), "someone", "r", version)
        path.write_text(report_page(warehouse, data_card(warehouse, find_subject(warehouse, "r"), samples=samples)))
    request = Request("sha256", hashlib.sha256(picture(2)).hexdigest())
    takedown, _ = register(warehouse, [request], by="someone", reason="asked", keep_days=0)
    carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-1")
    assert (shown.exists(), bare.exists()) == (False, True)
    (row,) = read_rows(warehouse, "SELECT * FROM erasures WHERE step = 'export'", tables=["erasures"])
    assert (row["place"], row["state"]) == (str(shown), "removed")
    after = data_card(warehouse, find_subject(warehouse, "r"))
    assert [row["takedown_id"] for row in after.taken_down] == [takedown.takedown_id]
    assert after.tainted == {CHECKPOINT: 1}
    assert after.counts["rows"] == 6
    assert f"Takedown {takedown.takedown_id}" in report_page(warehouse, after)
    assert warehouse.open(TRAINING_SETS) is not None
