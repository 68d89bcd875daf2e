"""A trace from every end: whatever a person has at hand is understood, and both directions are shown."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from builders import index, picture
from drops import write_table
from lineage_story import CHECKPOINT, EVIL, EYE, MLFLOW_RUN, tell
from starlette.testclient import TestClient

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import UsageError
from veclip_pipelines.lineage.questions import Kind, Question, condition_of, understand
from veclip_pipelines.lineage.trace import trace
from veclip_pipelines.lineage.tree import Branch, as_json, tree_of
from veclip_pipelines.serving.app import build_app
from veclip_pipelines.serving.standalone_pages import standalone_page
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse


@pytest.fixture
def told(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> str:
    return tell(tmp_path, settings, warehouse)


def one(warehouse: Warehouse, column: str, where: str = "alt_text = 'text 2'") -> str:
    return str(
        read_rows(warehouse, f"SELECT {column} AS it FROM raw_crawl WHERE {where}", tables=["raw_crawl"])[0]["it"]
    )


def test_a_sample_backwards_and_forwards(warehouse: Warehouse, told: str) -> None:
    sample_id = one(warehouse, "sample_id")
    found = trace(warehouse, understand(warehouse, sample_id))
    (row,) = found.samples
    assert (found.question.kind, found.rows, row["alt_text"], row["url"]) == (
        Kind.SAMPLE, 1, "text 2", "https://www.pictures.example:443/2.png",
    )  # fmt: skip
    with Path(row["shard_uri"]).open("rb") as shard:
        shard.seek(row["image_offset"])
        assert shard.read(row["image_length"]) == picture(2)
    assert [item["text"] for item in row["vecap"]] == [f"fused {sample_id}"]
    assert [item["engine_id"] for item in row["concept_captions"]] == [EYE]
    assert {engine["prompt_text"] for engine in found.engines} == {"words of concept@2", "words of fusion@1"}
    (used,) = row["training_sets"]
    assert (used["recipe"], used["set_version"], used["probabilities"]) == ("r", told, [0.5, 0.5])
    # Ten steps of four over seven samples: five whole epochs of two batches.
    (seen,) = row["seen"]
    assert (seen["checkpoint_id"], seen["expected"], seen["actual"]) == (CHECKPOINT, pytest.approx(40 / 7, abs=0.01), 5)
    assert sum(seen["drawn"].values()) == 5
    assert set(seen["drawn"]) <= {"alt_text", "vecap"}
    assert [(item["recipe"], item["samples"]) for item in found.sets] == [("r", 1)]
    assert [item["metric"] for item in found.scores] == ["acc@1"]


def test_every_end_is_understood(tmp_path: Path, settings: Settings, warehouse: Warehouse, told: str) -> None:
    (tmp_path / "it.png").write_bytes(picture(2))
    (tmp_path / "fusion.yaml").write_text("name: fusion")
    url = one(warehouse, "url")
    asked = {
        str(tmp_path / "it.png"): (Kind.PICTURE, 1),
        one(warehouse, "image_sha256"): (Kind.PICTURE, 1),
        url: (Kind.URL, 1),
        "pictures.example": (Kind.DOMAIN, 8),
        "WWW.pictures.example": (Kind.DOMAIN, 6),
        one(warehouse, "sample_id"): (Kind.SAMPLE, 1),
        "text 2": (Kind.TEXT, 1),
        f"fused {one(warehouse, 'sample_id')}": (Kind.TEXT, 1),
        f"seen {one(warehouse, 'image_sha256')[:6]}": (Kind.TEXT, 1),
        "crawl-1": (Kind.PARTITION, 8),
        EYE: (Kind.ENGINE, 13),
        "hand": (Kind.ENGINE, 7),
        "fusion@1": (Kind.PROMPT, 7),
        str(tmp_path / "fusion.yaml"): (Kind.PROMPT, 7),
        "r": (Kind.TRAINING_SET, 7),
        f"r@{told}": (Kind.TRAINING_SET, 7),
        told: (Kind.TRAINING_SET, 7),
        CHECKPOINT: (Kind.CHECKPOINT, 7),
        MLFLOW_RUN: (Kind.CHECKPOINT, 7),
        "d" * 64: (Kind.CHECKPOINT, 7),
        "r/b/acc@1": (Kind.SCORE, 7),
    }
    for what, (kind, rows) in asked.items():
        found = trace(warehouse, understand(warehouse, what))
        assert (what, found.question.kind, found.rows) == (what, kind, rows)
        assert [(item["recipe"], item["set_version"]) for item in found.sets] == [("r", told)], what
        assert [item["checkpoint_id"] for item in found.checkpoints] == [CHECKPOINT], what
        assert [item["value"] for item in found.scores] == [0.25], what
        assert json.dumps(as_json(found), default=str)


def test_a_score_names_all_engines_behind_it(warehouse: Warehouse, told: str) -> None:
    found = trace(warehouse, understand(warehouse, "r/b/acc@1"))
    assert {row["profile"] for row in found.engines} == {"eye", "hand"}
    assert [(row["crawl_partition"], row["kept"]) for row in found.partitions] == [("crawl-1", 7)]


def test_a_picture_in_two_samples_and_its_near_ones(tmp_path: Path, warehouse: Warehouse, told: str) -> None:
    sha256 = one(warehouse, "image_sha256", "alt_text = 'text 0'")
    found = trace(warehouse, understand(warehouse, sha256))
    assert {row["alt_text"] for row in found.samples} == {"text 0", EVIL}
    # The same scene in other bytes, in no crawl: the crawl's own is near.
    other = tmp_path / "other.jpg"
    other.write_bytes(picture(0, kind="JPEG"))
    found = trace(warehouse, understand(warehouse, str(other)))
    assert found.rows == 0
    assert sha256 in {row["image_sha256"] for row in found.near}
    assert not found.is_empty()


def test_what_nobody_knows(tmp_path: Path, warehouse: Warehouse, told: str) -> None:
    for what in ("no such text", "https://nowhere.example/x", "nowhere.example", "0" * 32, "0" * 64, "x' OR 1=1 --"):
        assert trace(warehouse, understand(warehouse, what)).is_empty(), what
    with pytest.raises(UsageError, match="without model"):
        understand(warehouse, str(tmp_path))
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UsageError, match="neither a picture nor a prompt"):
        understand(warehouse, str(tmp_path / "x.txt"))
    with pytest.raises(UsageError, match="a score is named"):
        trace(warehouse, Question(Kind.SCORE, "r"))
    with pytest.raises(UsageError, match="name what to trace"):
        understand(warehouse, " ")


def test_a_page_is_found_by_its_address(tmp_path: Path, warehouse: Warehouse) -> None:
    page = "https://Shop.example:8080/vases?sort=price"
    rows = [
        {
            "url": f"https://cdn.example/{number}.jpg",
            "TEXT": f"vase {number}",
            "page_url": page if number < 2 else f"{page}&p=2",
        }
        for number in range(3)
    ]
    index(warehouse, write_table(tmp_path / "list" / "t.parquet", rows), "list")
    assert trace(warehouse, understand(warehouse, page)).rows == 2
    assert trace(warehouse, understand(warehouse, "shop.example")).rows == 3
    assert trace(warehouse, Question(Kind.PAGE, page.replace("https", "http"))).rows == 0


def test_a_rejected_row_says_why(warehouse: Warehouse, told: str) -> None:
    found = trace(warehouse, understand(warehouse, "broken"))
    assert found.samples[0]["reason"] == "not_a_picture"
    assert "rejected: not_a_picture" in texts(tree_of(found))


def test_pages_escape_strangers_texts(settings: Settings, warehouse: Warehouse, told: str) -> None:
    found = trace(warehouse, Question(Kind.TEXT, EVIL))
    page = standalone_page(warehouse, found)
    assert "data:image/jpeg;base64," in page
    client = TestClient(build_app(settings, warehouse), base_url="http://127.0.0.1:3080")
    served = client.get("/trace", params={"of": EVIL})
    for text in (page, served.text):
        assert "<script" not in text
        assert "&lt;script&gt;alert(1)" in text
        assert CHECKPOINT in text
    assert client.get(f"/pictures/{found.samples[0]['image_sha256']}.jpg").status_code == 200
    assert client.get("/trace", params={"of": "x", "as": "nonsense"}).status_code == 400
    # A file of this machine is nobody's question to the server.
    assert "No table knows it" in client.get("/trace", params={"of": str(settings.home)}).text


def texts(branch: Branch) -> str:
    return "\n".join([branch.text, *(texts(item) for item in branch.branches)])


def test_a_domain_takes_each_row_once_by_any_of_its_hosts() -> None:
    rows = [
        ("url alone", "img.a.example", "b.example", None),
        ("page alone", "cdn.example", "a.example", None),
        ("both", "a.example", "www.a.example", None),
        ("page, of a picture without url", None, "a.example", None),
        ("found elsewhere", "b.example", None, "https://A.example/x.jpg"),
        ("another that ends alike", "nota.example", "nota.example", "https://nota.example/a.example"),
        ("none", None, None, None),
    ]
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE raw_crawl (name VARCHAR, url_host VARCHAR, page_host VARCHAR, final_url VARCHAR)"
        )
        connection.executemany("INSERT INTO raw_crawl VALUES (?, ?, ?, ?)", rows)
        found = [
            name
            for condition in condition_of(Question(Kind.DOMAIN, "a.example"))
            for (name,) in connection.execute(
                f"SELECT name FROM raw_crawl WHERE {condition}", {"v": "a.example"}
            ).fetchall()
        ]
    assert sorted(found) == sorted(name for name, *_ in rows[:5])
