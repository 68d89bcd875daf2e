"""A crawl partition's life on the command line: fetched, tried again, grown, rolled back, retired; real runs throughout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from builders import numbered_entries, write_drop
from drops import write_table
from installation import ENGINES, Installation
from web import Web, running_web

from veclip_pipelines.tables.query import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_engines"), pytest.mark.timeout(600)]


@pytest.fixture
def web() -> Iterator[Web]:
    with running_web() as running:
        yield running


def rows(cluster: Installation, table: str, key: str) -> list[dict[str, Any]]:
    return read_rows(
        cluster.warehouse, f"SELECT * FROM {table} WHERE crawl_partition = ? ORDER BY ALL", [key], tables=[table]
    )


def test_urls_are_fetched_and_what_failed_is_tried_again(cluster: Installation, web: Web, tmp_path: Path) -> None:
    paths = [f"pictures/{n}.jpg" for n in range(5)] + ["missing/1.jpg", "error/1.jpg", "noai/1.jpg"]
    table = [{"url": f"{web.url}/{path}", "text": f"a shape on a table, number {n}"} for n, path in enumerate(paths)]
    folder = write_table(tmp_path / "crawl-1" / "part.parquet", table)
    policy = {"fetch": {"attempts": 1, "deadline_seconds": 5, "allow_addresses": ["127.0.0.1/32"]}}
    forbidden = {"fetch": {"attempts": 1}}
    cluster.veclip("crawl", "add", str(folder))

    cluster.settings.crawl_file.write_text(yaml.safe_dump(forbidden), "utf-8")
    failed = cluster.veclip("materialize", "--partition", "crawl-1", *ENGINES, succeeds=False)
    assert failed.returncode == 1
    assert "only 0 of 8 entries could be kept" in failed.stderr
    assert "forbidden_address 8" in failed.stderr
    assert rows(cluster, "raw_crawl", "crawl-1") == []
    assert web.asked == {}, "loopback is reached by configuration only"

    web.broken = True
    cluster.settings.crawl_file.write_text(yaml.safe_dump({**policy, "minimum_success_share": 0}), "utf-8")
    cluster.veclip("materialize", "--partition", "crawl-1", *ENGINES)
    counted = json.loads(cluster.veclip("crawl", "rejects", "--json", "--stage", "raw_crawl").stdout)
    assert {row["reason"]: row["rows"] for row in counted} == {"server_error": 6, "gone": 1, "opted_out": 1}

    web.broken = False
    wrong = cluster.veclip("crawl", "retry", "--reason", "timeout", succeeds=False)
    assert (wrong.returncode, "no row was rejected for timeout" in wrong.stderr) == (2, True)
    done = cluster.veclip("crawl", "retry", "--reason", "server_error")
    assert "trying 6 rows of crawl-1 again" in done.stdout
    counted = json.loads(cluster.veclip("crawl", "rejects", "--json", "--stage", "raw_crawl").stdout)
    assert {row["reason"]: row["rows"] for row in counted} == {"server_error": 1, "gone": 1, "opted_out": 1}
    cluster.veclip("materialize", "--partition", "crawl-1", *ENGINES)
    assert len([row for row in rows(cluster, "vecap", "crawl-1") if row["outcome"] == "kept"]) == 5
    assert (
        "everything is up to date"
        in cluster.veclip("materialize", "--dry-run", "--partition", "crawl-1", *ENGINES).stdout
    )


def test_a_partition_is_rolled_back_pinned_and_retired(cluster: Installation, tmp_path: Path) -> None:
    folder = write_drop(tmp_path / "crawl-1", numbered_entries(3))
    cluster.veclip("crawl", "add", str(folder))
    cluster.veclip("materialize", "--partition", "crawl-1", *ENGINES)
    before = {table: rows(cluster, table, "crawl-1") for table in ("raw_crawl", "concept_captions", "vecap")}

    for path in write_drop(tmp_path / "more", numbered_entries(2, first=8)).iterdir():
        path.rename(folder / path.name.replace("00000", "00001"))
    assert "raw_crawl" in cluster.veclip("materialize", "--dry-run", "--partition", "crawl-1", *ENGINES).stdout
    cluster.veclip("materialize", "--partition", "crawl-1", *ENGINES)
    assert len(rows(cluster, "vecap", "crawl-1")) == 5

    contents = json.loads(cluster.veclip("crawl", "history", "crawl-1", "--json").stdout)
    assert [row["rows_kept"] for row in contents] == [5, 3]
    cluster.veclip("crawl", "rollback", "crawl-1")
    assert {table: rows(cluster, table, "crawl-1") for table in before} == before
    assert (
        "everything is up to date"
        in cluster.veclip("materialize", "--dry-run", "--partition", "crawl-1", *ENGINES).stdout
    )
    assert "pinned" in cluster.veclip("crawl", "list").stdout
    # A materialisation in the UI leaves a pinned partition as it is, too.
    instance = dg.DagsterInstance.from_config(str(cluster.settings.dagster_home))
    events = instance.fetch_materializations(dg.AssetKey("raw_crawl"), limit=1).records
    assert events[0].partition_key == "crawl-1"
    assert events[0].asset_materialization is not None
    assert events[0].asset_materialization.tags["dagster/data_version"] == contents[1]["data_version"]

    # Registered again, the folder is taken in as it is now.
    cluster.veclip("crawl", "add", str(folder))
    cluster.veclip("materialize", "--partition", "crawl-1", *ENGINES)
    assert len(rows(cluster, "vecap", "crawl-1")) == 5
    cluster.veclip("crawl", "rollback", "crawl-1", "--to", contents[1]["run_id"])
    assert len(rows(cluster, "vecap", "crawl-1")) == 3

    cluster.veclip("crawl", "retire", "crawl-1", "--yes")
    for table in (*before, "duplicate_pairs"):
        assert rows(cluster, table, "crawl-1") == []
    assert instance.get_dynamic_partitions("crawl_partition") == []
    gone = cluster.veclip("crawl", "add", str(folder), succeeds=False)
    assert (gone.returncode, "was retired" in gone.stderr) == (2, True)
    cluster.veclip("crawl", "add", str(folder), "--replace")
    cluster.veclip("materialize", "--partition", "crawl-1", *ENGINES)
    assert len(rows(cluster, "vecap", "crawl-1")) == 5


def test_captions_of_a_data_set_are_mixed_like_our_own(cluster: Installation, web: Web, tmp_path: Path) -> None:
    table = [
        {"url": f"{web.url}/pictures/{n}.jpg", "re_caption": f"a described shape {n}", "org_caption": f"shape {n}", "key": str(n)}
        for n in range(4)
    ]  # fmt: skip
    for number in range(4):
        from builders import picture

        web.pictures[f"/pictures/{number}.jpg"] = picture(number, size=(80, 60), kind="JPEG")
    table[3]["re_caption"] = ""
    folder = write_table(tmp_path / "recap-1" / "part.parquet", table)
    cluster.settings.crawl_file.write_text(yaml.safe_dump({"fetch": {"allow_addresses": ["127.0.0.1/32"]}}), "utf-8")
    cluster.veclip("crawl", "add", str(folder))
    imported = ("--concept-engine", "imported-re-caption", "--fusion-engine", "mine")
    cluster.veclip("materialize", "--partition", "recap-1", *imported)
    captions = rows(cluster, "concept_captions", "recap-1")
    assert sorted(row["text"] for row in captions if row["outcome"] == "kept") == [
        f"a described shape {n}" for n in range(3)
    ]
    assert [row["reason"] for row in captions if row["outcome"] == "rejected"] == ["no_imported_caption"]
    assert {row["route"] for row in captions if row["outcome"] == "kept"} == {"imported"}
    engines = {
        row["engine_id"]: row for row in read_rows(cluster.warehouse, "SELECT * FROM engines", tables=["engines"])
    }
    engine = engines[captions[0]["engine_id"]]
    assert (engine["kind"], engine["model"]) == ("imported", "Recap-DataComp-1B")
    assert len(rows(cluster, "vecap", "recap-1")) == 4, "our own fusion fuses them"
