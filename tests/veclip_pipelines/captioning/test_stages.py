"""Both captioning steps on real tables: reuse, resumption, policy. The engines are small doubles that count their calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from builders import DropEntry, index, numbered_entries, picture, write_drop
from PIL import Image

from veclip_pipelines.captioning import concept, fusion
from veclip_pipelines.captioning.stage import StageResult
from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.profiles import EngineProfile
from veclip_pipelines.engines.prompts import Prompt
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.fanout import HereRunner
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse


def spec(purpose: str, engine_id: str = "e1") -> EngineSpec:
    prompt = Prompt(
        name="p", version=1, purpose="fusion", description="", fields=("alt_text", "concept"), user="{{ alt_text }}"
    )
    profile = EngineProfile(name="x", purpose=purpose, kind="tagger", description="", model="m", batch_rows=2)
    return EngineSpec(engine_id, profile, prompt if purpose == "fusion" else None, Path("/nowhere"), "0" * 64, "1")


class Describer:
    def __init__(self) -> None:
        self.seen = 0
        self.answer = EngineText("a red shape", "stop", 3)

    def describe(self, pictures: Sequence[Image.Image]) -> list[EngineText]:
        self.seen += len(pictures)
        return [self.answer] * len(pictures)


class Fuser:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: EngineText | None = None

    def generate(self, fields: Sequence[Mapping[str, str]]) -> list[EngineText]:
        self.asked += [values["alt_text"] for values in fields]
        return [self.answer or EngineText(f"{values['alt_text']}, red", "stop", 4) for values in fields]


@pytest.fixture
def describer(monkeypatch: pytest.MonkeyPatch) -> Describer:
    engine = Describer()
    monkeypatch.setattr(concept, "image_text_engine", lambda _: engine)
    return engine


@pytest.fixture
def fuser(monkeypatch: pytest.MonkeyPatch) -> Fuser:
    engine = Fuser()
    monkeypatch.setattr(fusion, "text_engine", lambda _: engine)
    return engine


def crawl(warehouse: Warehouse, folder: Path, entries: list[DropEntry]) -> str:
    drop = inspect_drop(str(write_drop(folder, entries)))
    index(warehouse, drop, folder.name)
    return folder.name


def describe(warehouse: Warehouse, key: str, engine: str = "e1") -> StageResult:
    return concept.caption_partition(warehouse, spec("concept", engine), key, HereRunner(), properties={})


def fuse(warehouse: Warehouse, key: str, engine: str = "f1", concept_engine: str = "e1") -> StageResult:
    return fusion.fuse_partition(
        warehouse, spec("fusion", engine), spec("concept", concept_engine), key, HereRunner(), properties={}
    )


def test_a_picture_is_captioned_once_however_often_the_crawl_has_it(
    tmp_path: Path, warehouse: Warehouse, describer: Describer
) -> None:
    same = picture(3)
    one = crawl(warehouse, tmp_path / "one", [DropEntry("a", same), DropEntry("b", same), *numbered_entries(2)])
    two = crawl(warehouse, tmp_path / "two", [DropEntry("c", same), *numbered_entries(2, first=7)])
    assert describe(warehouse, one).computed == describer.seen == 3
    result = describe(warehouse, two)
    assert (result.computed, result.reused, describer.seen) == (2, 1, 5)


def test_an_unchanged_partition_is_left_alone(
    tmp_path: Path, warehouse: Warehouse, describer: Describer, fuser: Fuser
) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(5))
    describe(warehouse, key)
    first = fuse(warehouse, key)
    again = (describe(warehouse, key), fuse(warehouse, key))
    assert (describer.seen, len(fuser.asked)) == (5, 5)
    assert not any(result.changed for result in again)
    assert again[1].delta_version == first.delta_version


def test_a_changed_engine_runs_again_and_leaves_the_other_engines_rows(
    tmp_path: Path, warehouse: Warehouse, describer: Describer, fuser: Fuser
) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(3))
    describe(warehouse, key, "e1")
    describer.answer = EngineText("a blue shape", "stop", 3)
    assert describe(warehouse, key, "e2").computed == 3
    rows = read_rows(
        warehouse,
        "SELECT engine_id, any_value(text) AS t FROM concept_captions GROUP BY 1 ORDER BY 1",
        tables=["concept_captions"],
    )
    assert [row["t"] for row in rows] == ["a red shape", "a blue shape"]
    fuse(warehouse, key, concept_engine="e1")
    assert fuse(warehouse, key, concept_engine="e2").computed == 3


def test_a_failed_row_is_tried_again_and_the_others_are_not(
    tmp_path: Path, warehouse: Warehouse, describer: Describer
) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(4))
    describer.answer = EngineText(" ", "stop", 0)
    describe(warehouse, key)
    assert {row["reason"] for row in read_rows(warehouse, "SELECT reason FROM rejects")} == {"empty"}
    describer.answer = EngineText("a red shape", "stop", 3)
    result = describe(warehouse, key)
    assert (result.computed, result.batches_found) == (4, 0)
    assert read_rows(warehouse, "SELECT * FROM rejects") == []


def test_finished_batches_of_a_crashed_run_are_taken_up(
    tmp_path: Path, warehouse: Warehouse, describer: Describer
) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(6))

    class Crashing(HereRunner):
        def run(self, function, items, *, label):  # type: ignore[no-untyped-def]
            yield function(items[0])
            yield function(items[1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        concept.caption_partition(warehouse, spec("concept"), key, Crashing(), properties={})
    assert read_rows(warehouse, "SELECT * FROM concept_captions", tables=["concept_captions"]) == []
    result = describe(warehouse, key)
    assert (result.batches_found, result.batches_run, describer.seen) == (2, 1, 6)
    assert len(read_rows(warehouse, "SELECT * FROM concept_captions", tables=["concept_captions"])) == 6


def test_a_replaced_drop_keeps_what_it_still_has(tmp_path: Path, warehouse: Warehouse, describer: Describer) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(4))
    describe(warehouse, key)
    drop = inspect_drop(str(write_drop(tmp_path / "grown", numbered_entries(6, first=2))))
    index(warehouse, drop, key)
    result = describe(warehouse, key)
    assert (result.reused, result.computed, describer.seen) == (2, 4, 8)
    rows = read_rows(
        warehouse,
        "SELECT count(*) AS n, count(DISTINCT image_sha256) AS d FROM concept_captions",
        tables=["concept_captions"],
    )
    assert rows == [{"n": 6, "d": 6}]


def test_routes_of_vecap(tmp_path: Path, warehouse: Warehouse, describer: Describer, fuser: Fuser) -> None:
    entries = [
        DropEntry("our cat Chelsea", picture(1)),
        DropEntry("IMG_2041.jpg", picture(2)),
        DropEntry("", picture(3)),
        DropEntry("cup in the garden", picture(4)),
    ]
    key = crawl(warehouse, tmp_path / "one", entries)
    describe(warehouse, key)
    fuser.answer = EngineText("Our red cat Chelsea", "stop", 4)
    result = fuse(warehouse, key)
    rows = {
        row["alt_text"]: row
        for row in read_rows(
            warehouse,
            "SELECT alt_text, v.* FROM vecap v JOIN raw_crawl USING (sample_id)",
            tables=["vecap", "raw_crawl"],
        )
    }
    assert result.rows == len(rows) == 4
    assert {alt: (row["route"], row["reason"]) for alt, row in rows.items()} == {
        "our cat Chelsea": ("engine", None),
        "IMG_2041.jpg": ("concept", None),
        "": ("concept", None),
        "cup in the garden": ("template", "invented"),
    }
    assert rows["cup in the garden"]["text"] == "cup in the garden, a red shape"
    assert rows["cup in the garden"]["engine_text"] == "Our red cat Chelsea"
    assert rows["IMG_2041.jpg"]["finish_reason"] == "skipped"
    assert sorted(fuser.asked) == ["cup in the garden", "our cat Chelsea"]


def test_fusing_before_captioning_says_what_to_do(tmp_path: Path, warehouse: Warehouse, fuser: Fuser) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(2))
    with pytest.raises(VeclipError, match="Materialise concept_captions"):
        fuse(warehouse, key)


def test_bytes_that_changed_in_the_shard_are_a_reject(
    tmp_path: Path, warehouse: Warehouse, describer: Describer
) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(2))
    shard = tmp_path / "one" / "00000.tar"
    data = bytearray(shard.read_bytes())
    data[600:640] = bytes(40)
    shard.write_bytes(bytes(data))
    describe(warehouse, key)
    assert [row["reason"] for row in read_rows(warehouse, "SELECT reason FROM rejects")] == ["picture_changed"]


@pytest.mark.parametrize(
    ("said", "finish", "text", "reason"),
    [
        ("The image shows a red shape", "stop", "a red shape", None),
        ('"A red shape"', "stop", "A red shape", None),
        ("A red shape. It stands on", "length", "A red shape.", None),
        ("A red shape that stands on", "length", None, "cut"),
        ("", "stop", None, "empty"),
    ],
)
def test_what_is_believed_of_a_captioner(
    tmp_path: Path,
    warehouse: Warehouse,
    describer: Describer,
    said: str,
    finish: str,
    text: str | None,
    reason: str | None,
) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(1))
    describer.answer = EngineText(said, finish, 5)  # type: ignore[arg-type]
    describe(warehouse, key)
    row = read_rows(warehouse, "SELECT text, reason FROM concept_captions", tables=["concept_captions"])[0]
    assert (row["text"], row["reason"]) == (text, reason)
