"""A picture is taken out of everything: hidden at once, removed from tables, pins, shards, exports and states; what used it is marked."""

from __future__ import annotations

import hashlib
import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builders import index, numbered_entries, picture, write_drop
from lineage_story import CHECKPOINT, tell

from veclip_pipelines.audit.auditing import audit
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation.scoreboard import newest_scores, our_rows
from veclip_pipelines.export.exported_samples import note_export
from veclip_pipelines.export.huggingface import export_huggingface
from veclip_pipelines.export.webdataset import export_webdataset
from veclip_pipelines.lineage.questions import Kind, Question
from veclip_pipelines.lineage.trace import trace
from veclip_pipelines.lineage.tree import tree_of
from veclip_pipelines.schemas.crawl_schemas import RAW_CRAWL
from veclip_pipelines.schemas.training_schemas import TRAINING_SETS
from veclip_pipelines.serving.standalone_pages import takedown_page
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.standings import all_files
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.consequences import report_of
from veclip_pipelines.takedown.execution import carry_out, unfinished
from veclip_pipelines.takedown.matches import find_matches
from veclip_pipelines.takedown.register import Takedown, register
from veclip_pipelines.takedown.requests import Request, read_requests

SHA = hashlib.sha256(picture(2)).hexdigest()
URL = "https://www.pictures.example:443/2.png"


@pytest.fixture
def told(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> str:
    return tell(tmp_path, settings, warehouse)


def ask(warehouse: Warehouse, *texts: str, keep_days: float = 7, distance: int | None = None) -> Takedown:
    takedown, _ = register(
        warehouse, read_requests(texts), distance=distance, by="someone", reason="asked", keep_days=keep_days
    )
    return takedown


def holding(warehouse: Warehouse, table: str) -> list[str]:
    column = "image_sha256" if table == "concept_captions" else "sample_id"
    rows = read_rows(
        warehouse, f"SELECT {column} AS key FROM {table} WHERE outcome = 'kept' ORDER BY 1", tables=[table]
    )
    return [row["key"] for row in rows]


def sample_of(warehouse: Warehouse, sha256: str) -> str:
    rows = read_rows(
        warehouse, "SELECT sample_id FROM raw_crawl WHERE image_sha256 = ?", [sha256], tables=["raw_crawl"]
    )
    return str(rows[0]["sample_id"])


def test_a_dry_run_shows_each_match_and_changes_nothing(told: str, warehouse: Warehouse, tmp_path: Path) -> None:
    near = tmp_path / "near.jpg"
    near.write_bytes(picture(2, kind="JPEG"))
    found = find_matches(warehouse, read_requests([str(near)]))
    assert SHA in {match.row["image_sha256"] for match in found}
    assert {match.matched_by for match in found} <= {"near", "same_picture"}
    assert len(holding(warehouse, "raw_crawl")) == 7
    by_url = find_matches(warehouse, [Request("url", URL)])
    assert [(match.matched_by, match.row["image_sha256"]) for match in by_url] == [("url", SHA)]
    by_domain = find_matches(warehouse, [Request("domain", "pictures.example")])
    # The copy of picture 0 elsewhere goes with it.
    assert len(by_domain) == 8
    assert {match.matched_by for match in by_domain} == {"domain"}


def test_a_picture_goes_with_all_its_copies(told: str, warehouse: Warehouse) -> None:
    found = find_matches(warehouse, [Request("url", "https://www.pictures.example:443/0.png")])
    assert sorted(match.matched_by for match in found) == ["same_picture", "url"]


def test_nobody_sees_it_from_the_tombstone_on(told: str, warehouse: Warehouse, tmp_path: Path) -> None:
    sample = sample_of(warehouse, SHA)
    ask(warehouse, URL)
    for table in ("raw_crawl", "vecap", "training_sets"):
        assert sample not in holding(warehouse, table)
        assert len(holding(warehouse, table)) == 6
    assert SHA not in holding(warehouse, "concept_captions")
    export_webdataset(warehouse, "r", told, tmp_path / "export")
    with tarfile.open(tmp_path / "export" / "00000.tar") as tar:
        assert not [name for name in tar.getnames() if name.startswith(sample)]


def test_it_goes_out_of_everything(told: str, settings: Settings, warehouse: Warehouse, tmp_path: Path) -> None:
    sample = sample_of(warehouse, SHA)
    for name, export in (("webdataset", export_webdataset), ("huggingface", export_huggingface)):
        note_export(warehouse, "r", told, name, str(tmp_path / name), "someone")
        export(warehouse, "r", told, tmp_path / name)
    tar_before = {path: path.stat() for path in (tmp_path / "drop").glob("*")}
    takedown = ask(warehouse, URL)
    noted = carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-1")
    assert noted == []  # this story has no materialisations to renew

    rows = read_rows(warehouse, "SELECT * FROM raw_crawl WHERE sample_id = ?", [sample], tables=["raw_crawl"])
    assert [(row["outcome"], row["reason"], row["detail"]) for row in rows] == [
        ("rejected", "taken_down", f"takedown {takedown.takedown_id}")
    ]
    assert {name for name, value in rows[0].items() if value not in (None, [])} == {
        "sample_id", "image_sha256", "source_key", "source_uri", "shard_uri", "image_offset", "image_length", "outcome", "reason", "detail",
        "crawl_partition",
    }  # fmt: skip
    assert len(read_rows(warehouse, "SELECT 1 FROM raw_crawl", tables=["raw_crawl"])) == 8
    assert sample not in holding(warehouse, "vecap")

    # The bytes, the texts and the sidecar's row, at the same size and time.
    key = rows[0]["source_key"]
    with tarfile.open(tmp_path / "drop" / "00000.tar") as tar:
        members = {member.name: tar.extractfile(member) for member in tar if member.name.startswith(key)}
        assert len(members) == 3
        assert not any(any(content.read()) for content in members.values() if content is not None)
    sidecar = {row["key"]: row for row in pq.read_table(tmp_path / "drop" / "00000.parquet").to_pylist()}
    assert (sidecar[key]["url"], sidecar[key]["caption"], sidecar[key]["status"]) == (None, None, "taken_down")
    assert sum(row["url"] is not None for row in sidecar.values()) == 7
    for path, before in tar_before.items():
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)

    # Exports.
    with tarfile.open(tmp_path / "webdataset" / "00000.tar") as tar:
        assert len(tar.getnames()) == 18
    assert json.loads((tmp_path / "webdataset" / "sizes.json").read_text()) == {"00000.tar": 6}
    assert sample not in pq.read_table(tmp_path / "huggingface" / "data")["sample_id"].to_pylist()
    with pytest.raises(UsageError, match="another export"):
        export_webdataset(warehouse, "r", told, tmp_path / "webdataset")

    # The checkpoint.
    (taint,) = read_rows(warehouse, "SELECT * FROM taints", tables=["taints"])
    assert (taint["checkpoint_id"], taint["sample_id"]) == (CHECKPOINT, sample)
    assert taint["seen"] in (5, 6)
    assert taint["expected"] == pytest.approx(40 / 7, abs=0.01)

    # The scoreboard and a trace say so.
    (row,) = our_rows(newest_scores(warehouse))
    assert row.data == "7 samples, 1 of them taken down since"
    from_sample = trace(warehouse, Question(Kind.SAMPLE, sample))
    assert [one["takedown_id"] for one in from_sample.takedowns] == [takedown.takedown_id]
    assert from_sample.samples[0]["url"] is None
    assert "taken down" in str(tree_of(from_sample))
    assert trace(warehouse, Question(Kind.URL, URL)).takedowns
    (checkpoint,) = trace(warehouse, Question(Kind.CHECKPOINT, CHECKPOINT)).checkpoints
    assert checkpoint["tainted"]["takedowns"] == [takedown.takedown_id]
    page = takedown_page(report_of(warehouse, takedown))
    assert CHECKPOINT in page
    assert "text 2" not in page

    # A second time there is nothing to do.
    assert unfinished(warehouse) == []
    before = read_rows(warehouse, "SELECT step, place, state, count FROM erasures ORDER BY ALL", tables=["erasures"])
    versions = {name: warehouse.open(spec).version() for name, spec in (("raw", RAW_CRAWL), ("sets", TRAINING_SETS))}  # type: ignore[union-attr]
    carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-2")
    after = read_rows(warehouse, "SELECT step, place, state, count FROM erasures ORDER BY ALL", tables=["erasures"])
    assert after == before
    assert versions == {
        name: warehouse.open(spec).version() for name, spec in (("raw", RAW_CRAWL), ("sets", TRAINING_SETS))
    }  # type: ignore[union-attr]


def test_earlier_contents_go_when_their_time_has_come(told: str, settings: Settings, warehouse: Warehouse) -> None:
    takedown = ask(warehouse, URL, keep_days=7)
    carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-1")
    held = read_rows(warehouse, "SELECT place, until FROM erasures WHERE state = 'held'", tables=["erasures"])
    assert {row["until"] for row in held} == {takedown.erase_after} or held == []
    later = datetime.now(UTC) + timedelta(days=8)
    carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-2", now=later)
    assert read_rows(warehouse, "SELECT * FROM erasures WHERE state = 'held'", tables=["erasures"]) == []
    for path in all_files(warehouse, RAW_CRAWL):
        found = pq.read_table(warehouse.path(RAW_CRAWL, path), partitioning=None)
        assert URL not in found["url"].to_pylist()


def test_the_set_is_made_again_to_what_its_record_names(told: str, settings: Settings, warehouse: Warehouse) -> None:
    takedown = ask(warehouse, URL, keep_days=0)
    carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-1")
    (pins,) = read_rows(warehouse, "SELECT * FROM set_pins", tables=["set_pins"])
    assert pins["takedowns"] == [takedown.takedown_id]
    assert pins["rebuilt_version"] == pins["content_version"]
    report = audit(warehouse, None)
    assert [finding for finding in report.findings if finding.check in ("pins", "captions", "files", "engines")] == []


def test_a_later_crawl_does_not_bring_it_back(
    told: str, settings: Settings, warehouse: Warehouse, tmp_path: Path
) -> None:
    takedown = ask(warehouse, URL)
    carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-1")
    index(warehouse, write_drop(tmp_path / "again", numbered_entries(5)), "crawl-2")
    rows = read_rows(
        warehouse,
        "SELECT reason, url, phash, alt_text, image_sha256 FROM raw_crawl WHERE crawl_partition = 'crawl-2' AND outcome = 'rejected'",
        tables=["raw_crawl"],
    )
    assert rows == [{"reason": "taken_down", "url": None, "phash": None, "alt_text": None, "image_sha256": SHA}]
    assert [one.takedown_id for one in unfinished(warehouse)] == [takedown.takedown_id]
    carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-2")
    assert unfinished(warehouse) == []
    assert picture(2) not in (tmp_path / "again" / "00000.tar").read_bytes()
    # Nor does the drop that it was taken from.
    index(warehouse, tmp_path / "drop", "crawl-3")
    rows = read_rows(
        warehouse,
        "SELECT reason, count(*) AS n FROM raw_crawl WHERE crawl_partition = 'crawl-3' GROUP BY 1 ORDER BY 1",
        tables=["raw_crawl"],
    )
    assert {row["reason"]: row["n"] for row in rows} == {None: 6, "not_a_picture": 1, "taken_down": 1}


def test_what_is_not_ours_stays_and_is_told(
    told: str, settings: Settings, warehouse: Warehouse, tmp_path: Path
) -> None:
    settings.crawl_file.parent.mkdir(parents=True, exist_ok=True)
    settings.crawl_file.write_text(f"not_ours: [{tmp_path / 'drop'}]\n", "utf-8")
    before = (tmp_path / "drop" / "00000.tar").read_bytes()
    takedown = ask(warehouse, URL)
    carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-1")
    assert (tmp_path / "drop" / "00000.tar").read_bytes() == before
    rows = read_rows(
        warehouse, "SELECT step, state FROM erasures WHERE state = 'not_ours' ORDER BY ALL", tables=["erasures"]
    )
    assert [row["step"] for row in rows] == ["shard", "source"]


@pytest.mark.parametrize("text", ["", "no such thing", "/nowhere/picture.png", "@/nowhere/list"])
def test_what_cannot_be_understood_is_said(text: str) -> None:
    with pytest.raises(UsageError):
        read_requests([text])


def test_a_list_of_requests(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"# from the letter of May\n{URL}\n\n{SHA.upper()}\nshop.example\n", "utf-8")
    assert read_requests([f"@{tmp_path / 'list'}", URL]) == [
        Request("domain", "shop.example"),
        Request("sha256", SHA),
        Request("url", URL),
    ]
