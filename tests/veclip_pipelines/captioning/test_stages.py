"""Both captioning steps on real tables: reuse, resumption, policy. The engines are small doubles that count their calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import DropEntry, index, numbered_entries, picture, write_drop

from veclip_pipelines.captioning import concept, fusion
from veclip_pipelines.captioning.stage import StageResult
from veclip_pipelines.compute.fanout import HereRunner
from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.engines import loading
from veclip_pipelines.engines.base import EngineText, PictureBatch, TextBatch
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.profiles import EngineProfile, GuardPolicy
from veclip_pipelines.engines.prompts import Prompt
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse


def spec(purpose: str, engine_id: str = "e1", **guards: object) -> EngineSpec:
    prompt = Prompt(
        name="p", version=1, purpose="fusion", description="", fields=("alt_text", "concept"), user="{{ alt_text }}"
    )
    profile = EngineProfile(
        name="x", purpose=purpose, kind="tagger" if purpose == "concept" else "transformers-text", description="", model="m",
        batch_rows=2, guards=GuardPolicy.model_validate(guards),
    )  # fmt: skip
    return EngineSpec(engine_id, profile, prompt if purpose == "fusion" else None, Path("/nowhere"), "0" * 64, "1")


class Describer:
    """Says one thing of all pictures; ``answers`` by attempt where it is to say another when asked again."""

    def __init__(self) -> None:
        self.seen = 0
        self.answer_text = EngineText("a red shape", "stop", 3)
        self.again: EngineText | None = None

    def prepare(self, batch: PictureBatch) -> PictureBatch:
        return batch

    def answer(self, batch: PictureBatch, stop: Callable[[], None]) -> list[EngineText]:
        self.seen += len(batch.pictures)
        answer = self.again if batch.attempt and self.again else self.answer_text
        return [answer] * len(batch.pictures)


class Fuser:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer_text: EngineText | None = None
        self.again: EngineText | None = None

    def prepare(self, batch: TextBatch) -> TextBatch:
        return batch

    def answer(self, batch: TextBatch, stop: Callable[[], None]) -> list[EngineText]:
        self.asked += [values["alt_text"] for values in batch.fields]
        answer = self.again if batch.attempt else self.answer_text
        return [answer or EngineText(f"{values['alt_text']}, red", "stop", 4) for values in batch.fields]


class _Loaded:
    def __init__(self, engine: object) -> None:
        self.engine, self.lock = engine, threading.Lock()


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What is loaded in place of a model, by purpose."""
    found: dict[str, object] = {}
    monkeypatch.setattr(loading, "_load", lambda key: _Loaded(found[key.spec.profile.purpose]))
    return found


@pytest.fixture
def describer(engines: dict[str, object]) -> Describer:
    engines["concept"] = engine = Describer()
    return engine


@pytest.fixture
def fuser(engines: dict[str, object]) -> Fuser:
    engines["fusion"] = engine = Fuser()
    return engine


def crawl(warehouse: Warehouse, folder: Path, entries: list[DropEntry]) -> str:
    drop = inspect_drop(str(write_drop(folder, entries)))
    index(warehouse, drop, folder.name)
    return folder.name


def describe(warehouse: Warehouse, key: str, engine: str = "e1", **guards: object) -> StageResult:
    return concept.caption_partition(warehouse, spec("concept", engine, **guards), key, HereRunner(), properties={})


def fuse(
    warehouse: Warehouse, key: str, engine: str = "f1", concept_engine: str = "e1", **guards: object
) -> StageResult:
    return fusion.fuse_partition(
        warehouse, spec("fusion", engine, **guards), spec("concept", concept_engine), key, HereRunner(), properties={}
    )


def vecaps(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    """Rows of vecap by AltText."""
    sql = "SELECT alt_text, v.* FROM vecap v JOIN raw_crawl USING (sample_id)"
    return {row["alt_text"]: row for row in read_rows(warehouse, sql, tables=["vecap", "raw_crawl"])}


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
    describer.answer_text = EngineText("a blue shape", "stop", 3)
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
    describer.answer_text = EngineText(" ", "stop", 0)
    describe(warehouse, key)
    assert {row["reason"] for row in read_rows(warehouse, "SELECT reason FROM rejects")} == {"empty"}
    describer.answer_text = EngineText("a red shape", "stop", 3)
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
    fuser.answer_text = EngineText("Our red cat Chelsea", "stop", 4)
    result = fuse(warehouse, key)
    rows = vecaps(warehouse)
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


def test_a_row_is_asked_again_with_another_seed_before_it_falls_back(
    tmp_path: Path, warehouse: Warehouse, describer: Describer, fuser: Fuser
) -> None:
    key = crawl(
        warehouse, tmp_path / "one", [DropEntry("our cat Chelsea", picture(1)), DropEntry("a cup, red", picture(2))]
    )
    describe(warehouse, key)
    fuser.answer_text = EngineText("I'm sorry, I cannot see a cat", "stop", 9)
    fuser.again = EngineText("our cat Chelsea, red", "stop", 4)
    fuse(warehouse, key, retries=2)
    rows = vecaps(warehouse)
    assert (rows["our cat Chelsea"]["text"], rows["our cat Chelsea"]["route"]) == ("our cat Chelsea, red", "engine")
    assert (rows["our cat Chelsea"]["attempts"], rows["our cat Chelsea"]["faults"]) == (2, ["refusal"])
    assert rows["our cat Chelsea"]["reason"] is None
    cup = rows["a cup, red"]
    assert (cup["route"], cup["reason"], cup["attempts"]) == ("template", "invented", 3)
    assert cup["faults"] == ["invented", "refusal"]


@pytest.mark.parametrize(
    ("policy", "route", "text"),
    [
        ({}, "template", "our cat Chelsea, a red shape"),
        ({"then": "concept"}, "concept", "a red shape"),
        ({"by_guard": {"refusal": "concept"}}, "concept", "a red shape"),
        ({"by_guard": {"empty": "concept"}}, "template", "our cat Chelsea, a red shape"),
        ({"then": "reject"}, None, None),
    ],
)
def test_the_policy_says_what_becomes_of_a_row(
    tmp_path: Path, warehouse: Warehouse, describer: Describer, fuser: Fuser, policy: dict[str, object], route: str | None,
    text: str | None,
) -> None:  # fmt: skip
    key = crawl(warehouse, tmp_path / "one", [DropEntry("our cat Chelsea", picture(1))])
    describe(warehouse, key)
    fuser.answer_text = EngineText("I'm sorry, I cannot see a cat", "stop", 9)
    fuse(warehouse, key, **policy)
    row = vecaps(warehouse)["our cat Chelsea"]
    assert (row["route"], row["text"], row["reason"]) == (route, text, "refusal")
    assert row["outcome"] == ("rejected" if text is None else "kept")


def test_an_alt_text_that_has_nothing_to_do_with_its_picture_is_not_fused(
    tmp_path: Path, warehouse: Warehouse, describer: Describer, fuser: Fuser
) -> None:
    """Told from the AltText (a page's furniture), and from the similarity that the drop brought along."""
    folder = tmp_path / "laion"
    folder.mkdir()
    rows = []
    for number, (text, similarity) in enumerate(
        [("our cat Chelsea", 0.33), ("terms of use", 0.07), ("read more", 0.3)]
    ):
        (folder / f"{number}.png").write_bytes(picture(number))
        rows.append(f'{number}.png,"{text}",{similarity}')
    (folder / "texts.csv").write_text("\n".join(["image,caption,similarity", *rows]), "utf-8")
    index(warehouse, inspect_drop(str(folder)), "laion")
    describe(warehouse, "laion")
    fuse(warehouse, "laion")
    found = vecaps(warehouse)
    assert {text: (row["route"], row["reason"], row["text"]) for text, row in found.items()} == {
        "our cat Chelsea": ("engine", None, "our cat Chelsea, red"),
        "terms of use": ("concept", "unrelated", "a red shape"),
        "read more": ("concept", "unrelated", "a red shape"),
    }
    assert fuser.asked == ["our cat Chelsea"]
    assert "similarity is low" in found["terms of use"]["detail"]
    assert found["terms of use"]["faults"] == ["unrelated"]


def test_what_an_engine_says_of_picture_after_picture_is_boilerplate(
    tmp_path: Path, warehouse: Warehouse, describer: Describer
) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(9))
    describer.answer_text = EngineText("A shape. It is a feast for the eyes of all viewers.", "stop", 12)
    assert describe(warehouse, key, boilerplate_rows=10).boilerplate == 0
    result = describe(warehouse, key, "e2", boilerplate_rows=9)
    assert (result.boilerplate, result.rows) == (1, 9)
    rows = read_rows(warehouse, "SELECT * FROM concept_captions WHERE engine_id = 'e2'", tables=["concept_captions"])
    assert {(row["outcome"], row["reason"], tuple(row["faults"])) for row in rows} == {
        ("rejected", "boilerplate", ("boilerplate",))
    }
    assert describe(warehouse, key, "e3", boilerplate_rows=9, skip=["boilerplate"]).boilerplate == 0


def test_boilerplate_in_a_fusion_falls_back_and_the_other_rows_stay(
    tmp_path: Path, warehouse: Warehouse, describer: Describer, fuser: Fuser
) -> None:
    texts = [f"cup number {number}" for number in range(5)]
    entries = [DropEntry(text, picture(place)) for place, text in enumerate([*texts, "our cat Chelsea"])]
    key = crawl(warehouse, tmp_path / "one", entries)
    describe(warehouse, key)
    same = EngineText("a cup number red shape is seen", "stop", 6)
    fuser.answer_text = same
    fuse(warehouse, key, boilerplate_rows=4, skip=["lost_name", "lost_alt_text"])
    found = vecaps(warehouse)
    assert {found[text]["route"] for text in texts} == {"template"}
    assert {found[text]["reason"] for text in texts} == {"boilerplate"}
    assert found["our cat Chelsea"]["reason"] == "invented"


def test_an_engine_that_sees_fuses_alt_text_and_picture_itself(
    tmp_path: Path, warehouse: Warehouse, engines: dict[str, object]
) -> None:
    """AltText-fused captions (arXiv 2410.02740): no concept caption is needed, and facts may come from the picture."""
    engines["fusion"] = seer = Describer()
    seer.answer_text = EngineText("our cat Chelsea beside a blue ball", "stop", 7)
    key = crawl(
        warehouse, tmp_path / "one", [DropEntry("our cat Chelsea", picture(1)), DropEntry("IMG_1.jpg", picture(2))]
    )
    made = spec("fusion")
    made = replace(made, profile=made.profile.model_copy(update={"kind": "transformers-image-text"}))
    result = fusion.fuse_partition(warehouse, made, None, key, HereRunner(), properties={})
    rows = vecaps(warehouse)
    assert (result.rows, seer.seen) == (2, 1)
    assert (rows["our cat Chelsea"]["route"], rows["our cat Chelsea"]["concept_engine_id"]) == ("engine", None)
    assert (rows["IMG_1.jpg"]["outcome"], rows["IMG_1.jpg"]["reason"]) == ("rejected", "nothing_to_fuse")


def test_a_row_that_the_engine_could_not_answer_is_asked_again_by_the_next_run(
    tmp_path: Path, warehouse: Warehouse, describer: Describer
) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(3))
    describer.answer_text = EngineText("", "failed", 0, detail="the server answers 500: a bug")
    describe(warehouse, key)
    rows = read_rows(warehouse, "SELECT reason, detail FROM rejects")
    assert rows == [{"reason": "engine_failed", "detail": "the server answers 500: a bug"}] * 3
    describer.answer_text = EngineText("a red shape", "stop", 3)
    assert describe(warehouse, key).computed == 3


def test_a_plan_goes_when_its_work_is_done_or_has_failed(
    tmp_path: Path, warehouse: Warehouse, describer: Describer
) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(3))

    class Failing(HereRunner):
        def run(self, function, items, *, label):  # type: ignore[no-untyped-def]
            raise VeclipError("no")

    with pytest.raises(VeclipError, match="no"):
        concept.caption_partition(warehouse, spec("concept"), key, Failing(), properties={})
    describe(warehouse, key)
    assert [path for path in Path(warehouse.root).rglob("*.parquet") if "_plans" in str(path)] == []


def test_of_two_runs_at_once_one_wins_whole(tmp_path: Path, warehouse: Warehouse, describer: Describer) -> None:
    key = crawl(warehouse, tmp_path / "one", numbered_entries(8))
    together = threading.Barrier(2)

    class AtOnce(HereRunner):
        def run(self, function, items, *, label):  # type: ignore[no-untyped-def]
            together.wait(30)
            yield from [function(item) for item in items]
            together.wait(30)

    def go() -> StageResult:
        return concept.caption_partition(warehouse, spec("concept"), key, AtOnce(), properties={})

    with ThreadPoolExecutor(2) as pool:
        results = [future.result() for future in [pool.submit(go), pool.submit(go)]]
    assert sorted(result.changed for result in results) == [False, True]
    counted = read_rows(
        warehouse,
        "SELECT count(*) AS n, count(DISTINCT image_sha256) AS d FROM concept_captions",
        tables=["concept_captions"],
    )
    assert counted == [{"n": 8, "d": 8}]


def test_batches_do_not_hang_on_how_they_are_dealt_out(
    tmp_path: Path, warehouse: Warehouse, describer: Describer
) -> None:
    class Backwards(HereRunner):
        def run(self, function, items, *, label):  # type: ignore[no-untyped-def]
            yield from [function(item) for item in reversed(items)]

    key = crawl(warehouse, tmp_path / "one", numbered_entries(7))
    describe(warehouse, key, "e1")
    concept.caption_partition(warehouse, spec("concept", "e2"), key, Backwards(), properties={})
    names = {
        engine: sorted(path.name for path in Path(warehouse.root).rglob(f"*engine_id={engine}/*.parquet"))
        for engine in ("e1", "e2")
    }
    assert names["e1"] == names["e2"]
    assert len(names["e1"]) == 4


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
    describer.answer_text = EngineText(said, finish, 5)  # type: ignore[arg-type]
    describe(warehouse, key)
    row = read_rows(warehouse, "SELECT text, reason FROM concept_captions", tables=["concept_captions"])[0]
    assert (row["text"], row["reason"]) == (text, reason)
