"""Training sets: pinned, filtered, reproducible, nothing lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from veclip_pipelines.config.recipe import MAIN, Recipe
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.media.uids import read_uids, write_uids
from veclip_pipelines.mixing.training_set import (
    Mix,
    ResolvedText,
    TrainingSet,
    input_versions,
    make_training_set,
    rebuild,
    resolve_mix,
    set_version_of,
)
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, DUPLICATES, RAW_CRAWL, VECAP
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.schemas.training_schemas import TRAINING_SETS
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.pins import pinned_files, read_pins
from veclip_pipelines.tables.query import content_version, read_rows
from veclip_pipelines.tables.warehouse import Warehouse

ALT = ResolvedText(source="alt_text", probability=0.5)
FUSED = ResolvedText(source="vecap", probability=0.5, engine_id="f1", profile="smollm2-fusion")


def recipe(partitions: object = "all", **more: object) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "r",
            "description": "",
            "crawl_partitions": partitions,
            "texts": [{"source": "alt_text", "probability": 1.0}],
            **more,
        }
    )


def mix_of(
    warehouse: Warehouse, wanted: Recipe, texts: Sequence[ResolvedText] | Mapping[str, Sequence[ResolvedText]]
) -> Mix:
    by_part = texts if isinstance(texts, Mapping) else dict.fromkeys(wanted.parts(), texts)
    return resolve_mix(warehouse, wanted, by_part)


def made_of(
    warehouse: Warehouse, wanted: Recipe, texts: Sequence[ResolvedText] | Mapping[str, Sequence[ResolvedText]]
) -> TrainingSet:
    mix = mix_of(warehouse, wanted, texts)
    return make_training_set(warehouse, mix, input_versions(warehouse, mix), properties={})


def rows_of(warehouse: Warehouse, made: TrainingSet) -> dict[str, dict[str, object]]:
    found = read_rows(
        warehouse, "SELECT * FROM training_sets WHERE set_version = ?", [made.set_version], tables=["training_sets"]
    )
    return {str(row["sample_id"]): row for row in found}


def put(
    warehouse: Warehouse, spec: TableSpec, partition: dict[str, str], rows: Sequence[dict[str, object]], name: str = "f"
) -> None:
    file = write_file(warehouse, spec, partition, name, table_of(spec, list(rows)))
    expected = partition_files(warehouse.open(spec), partition)
    replace_partition(warehouse, spec, partition, [file], expected=expected, properties={})


def raw(sample: str, alt: str, outcome: str = "kept") -> dict[str, object]:
    return {
        "sample_id": sample, "image_sha256": f"img-{sample}", "alt_text": alt, "source_key": sample, "shard_uri": "s.tar",
        "flags": [], "outcome": outcome,
    }  # fmt: skip


def fill(warehouse: Warehouse) -> None:
    put(warehouse, RAW_CRAWL, {"crawl_partition": "a"}, [raw("s1", "one"), raw("s2", ""), raw("s3", "bad", "rejected")])
    put(warehouse, RAW_CRAWL, {"crawl_partition": "b"}, [raw("s4", ""), raw("s1", "one")])
    fused = [{"sample_id": key, "input_hash": key, "text": f"fused {key}", "outcome": "kept"} for key in ("s1", "s2")]
    put(warehouse, VECAP, {"crawl_partition": "a", "engine_id": "f1"}, fused)
    put(
        warehouse,
        VECAP,
        {"crawl_partition": "b", "engine_id": "f1"},
        [{"sample_id": "s4", "input_hash": "x", "outcome": "rejected"}],
    )


def test_rows_texts_and_probabilities(warehouse: Warehouse) -> None:
    fill(warehouse)
    made = made_of(warehouse, recipe(), [ALT, FUSED])
    rows = rows_of(warehouse, made)
    assert (made.rows, made.kept, sorted(rows)) == (3, 2, ["s1", "s2", "s4"])
    assert [text["text"] for text in rows["s1"]["texts"]] == ["one", "fused s1"]
    assert rows["s1"]["probabilities"] == [0.5, 0.5]
    assert ([text["source"] for text in rows["s2"]["texts"]], rows["s2"]["probabilities"]) == (["vecap"], [1.0])
    assert (rows["s4"]["outcome"], rows["s4"]["reason"]) == ("rejected", "no_text")
    assert {(row["part"], row["weight"]) for row in rows.values()} == {(MAIN, 1.0)}


def test_the_same_inputs_give_the_same_bytes(warehouse: Warehouse) -> None:
    fill(warehouse)
    twin = Warehouse.at(warehouse.root + "-twin")
    fill(twin)
    made = [made_of(w, recipe(), [ALT, FUSED]) for w in (warehouse, twin, warehouse)]
    assert made[0].set_version == made[1].set_version
    assert (made[0].changed, made[2].changed) == (True, False)
    partition = {"recipe": "r", "set_version": made[0].set_version}
    assert content_version(warehouse, TRAINING_SETS, partition) == content_version(twin, TRAINING_SETS, partition)
    files = [next(Path(w.root).glob("training_sets/**/set-*.parquet")).read_bytes() for w in (warehouse, twin)]
    assert files[0] == files[1]


def test_a_set_is_made_again_after_its_inputs_were_replaced(warehouse: Warehouse, tmp_path: Path) -> None:
    fill(warehouse)
    made = made_of(warehouse, recipe(), [ALT, FUSED])
    original = next(Path(warehouse.root).glob("training_sets/**/set-*.parquet"))
    put(warehouse, VECAP, {"crawl_partition": "a", "engine_id": "f1"},
        [{"sample_id": "s1", "input_hash": "s1", "text": "fused anew", "outcome": "kept"}], name="g")  # fmt: skip
    put(warehouse, RAW_CRAWL, {"crawl_partition": "b"}, [raw("s9", "nine")], name="g")
    assert made_of(warehouse, recipe(), [ALT, FUSED]).set_version != made.set_version
    again = rebuild(warehouse, "r", made.set_version, tmp_path / "again.parquet")
    assert again == hashlib.sha256(original.read_bytes()).hexdigest()
    # What vacuum must keep: also the files that no commit names any more.
    kept = pinned_files(warehouse)
    assert {"crawl_partition=a/engine_id=f1/f.parquet", "crawl_partition=a/engine_id=f1/g.parquet"} <= kept["vecap"]
    pins = read_pins(warehouse, "r", made.set_version)
    assert pins.tables["vecap"].version < warehouse.open(VECAP).version()
    (Path(warehouse.root) / "raw_crawl" / "crawl_partition=b" / "f.parquet").unlink()
    with pytest.raises(VeclipError, match="lost files that a training set pins"):
        rebuild(warehouse, "r", made.set_version, tmp_path / "never.parquet")


def test_any_changed_input_is_another_version(warehouse: Warehouse) -> None:
    fill(warehouse)

    def version(wanted: Recipe) -> str:
        return set_version_of(input_versions(warehouse, mix_of(warehouse, wanted, [ALT, FUSED])))

    versions = [
        version(recipe()),
        version(recipe(weight=2.0)),
        version(recipe(filters={"near_duplicates": "keep", "basic": True})),
    ]
    put(warehouse, VECAP, {"crawl_partition": "a", "engine_id": "f1"},
        [{"sample_id": "s1", "input_hash": "s1", "text": "fused anew", "outcome": "kept"}], name="g")  # fmt: skip
    versions += [version(recipe()), version(recipe(["a"]))]
    assert len(set(versions)) == 5


def test_what_is_not_there_yet_is_named(warehouse: Warehouse) -> None:
    with pytest.raises(VeclipError, match="no crawl partition is materialised"):
        mix_of(warehouse, recipe(), [ALT])
    fill(warehouse)
    with pytest.raises(VeclipError, match="not materialised: zz"):
        mix_of(warehouse, recipe(["a", "zz"]), [ALT])
    unknown = ResolvedText(source="vecap", probability=1.0, engine_id="f9", profile="new")
    with pytest.raises(VeclipError, match="has no vecap by engine profile 'new'"):
        made_of(warehouse, recipe(), [unknown])
    with pytest.raises(VeclipError, match="materialise duplicates first"):
        made_of(warehouse, recipe(filters={"near_duplicates": "one"}), [ALT])


def judged(sample: str, **more: object) -> dict[str, object]:
    """A row that DataComp's basic filter keeps, unless told otherwise."""
    good = {"width": 400, "height": 300, "language": "en", "language_confidence": 0.9}
    return {**raw(sample, str(more.pop("alt", "a red chair by the window"))), **good, **more}


FILTERED = {
    "good": judged("good", extra=json.dumps({"clip_l14_similarity_score": 0.31})),
    "german": judged("german", language="de"),
    "untold": judged("untold", language=None),
    "short": judged("short", alt="red chair"),
    "small": judged("small", width=200),
    "long": judged("long", width=1000, height=300),
    "flagged": judged("flagged", flags=["email"]),
    "vague": judged("vague", extra=json.dumps({"clip_l14_similarity_score": 0.12})),
    "noscore": judged("noscore", extra=json.dumps({"clip_l14_similarity_score": "n/a"})),
}


@pytest.mark.parametrize(
    ("filters", "reasons"),
    [
        ({"basic": True}, {"german": "basic_language", "untold": "basic_language", "short": "basic_words", "small": "basic_side",
                           "long": "basic_aspect"}),
        ({"where": {"without_flags": ["email", "phone"]}}, {"flagged": "flags"}),
        ({"where": {"with_flags": ["email"]}}, {name: "flags" for name in FILTERED if name != "flagged"}),
        ({"where": {"minimum_scores": {"clip_l14_similarity_score": 0.3}}}, {name: "score" for name in FILTERED if name != "good"}),
        ({"score": {"column": "clip_l14_similarity_score", "at_least": 0.1}},
         {name: "score" for name in FILTERED if name not in ("good", "vague")}),
        ({"score": {"column": "clip_l14_similarity_score", "keep_share": 0.5}}, {name: "score" for name in FILTERED if name != "good"}),
        ({"where": {"maximum_words": 2}}, {name: "words" for name in FILTERED if name != "short"}),
        ({"where": {"minimum_language_confidence": 0.95}}, dict.fromkeys(FILTERED, "language_confidence")),
    ],
)  # fmt: skip
def test_filters_leave_out_with_their_reason(
    warehouse: Warehouse, filters: dict[str, object], reasons: dict[str, str]
) -> None:
    put(warehouse, RAW_CRAWL, {"crawl_partition": "a"}, list(FILTERED.values()))
    rows = rows_of(warehouse, made_of(warehouse, recipe(filters=filters), [ALT]))
    assert sorted(rows) == sorted(FILTERED)
    assert {name: row["reason"] for name, row in rows.items() if row["reason"]} == reasons
    assert all(row["texts"] == [] for row in rows.values() if row["reason"])


def test_one_of_near_duplicates_is_kept_among_those_that_pass(warehouse: Warehouse) -> None:
    put(
        warehouse,
        RAW_CRAWL,
        {"crawl_partition": "a"},
        [judged("d1", language="de"), judged("d2"), judged("d3"), judged("e")],
    )
    members = [
        {"group_id": "d1", "sample_id": name, "exact_id": name, "image_sha256": name, "phash": "0" * 16, "distance": 1}
        for name in ("d1", "d2", "d3")
    ]
    put(warehouse, DUPLICATES, {}, members)
    rows = rows_of(warehouse, made_of(warehouse, recipe(filters={"basic": True, "near_duplicates": "one"}), [ALT]))
    reasons = {name: row["reason"] for name, row in rows.items()}
    assert reasons == {"d1": "basic_language", "d2": None, "d3": "near_duplicate", "e": None}


def test_conditions_of_a_text_are_for_each_sample(warehouse: Warehouse) -> None:
    put(
        warehouse,
        RAW_CRAWL,
        {"crawl_partition": "a"},
        [raw("s1", "one"), {**raw("s2", "IMG_1.jpg"), "flags": ["file_name"]}],
    )
    fused = [{"sample_id": key, "input_hash": key, "text": f"fused {key}", "outcome": "kept"} for key in ("s1", "s2")]
    put(warehouse, VECAP, {"crawl_partition": "a", "engine_id": "f1"}, fused)
    named = ALT.model_validate({**ALT.model_dump(), "when": {"without_flags": ["file_name"]}})
    rows = rows_of(warehouse, made_of(warehouse, recipe(), [named, FUSED]))
    assert [len(rows[name]["texts"]) for name in ("s1", "s2")] == [2, 1]
    assert (rows["s2"]["texts"][0]["source"], rows["s2"]["probabilities"]) == ("vecap", [1.0])


def test_captions_that_the_drop_brought_and_shuffled_ones(warehouse: Warehouse) -> None:
    rows = [{**raw(f"s{n}", "x"), "captions": [{"name": "re_caption", "text": f"told {n}"}]} for n in range(6)]
    put(warehouse, RAW_CRAWL, {"crawl_partition": "a"}, rows)
    seen = [
        {"image_sha256": f"img-s{n}", "input_hash": str(n), "text": f"seen {n}", "outcome": "kept"} for n in range(6)
    ]
    put(warehouse, CONCEPT_CAPTIONS, {"crawl_partition": "a", "engine_id": "c1"}, seen)
    told = ResolvedText(source="caption", probability=0.5, column="re_caption")
    other = ResolvedText(source="concept_caption", probability=0.5, engine_id="c1", profile="p", shuffled=True)
    made = rows_of(warehouse, made_of(warehouse, recipe(), [told, other]))
    assert [row["texts"][0]["text"] for _, row in sorted(made.items())] == [f"told {n}" for n in range(6)]
    shuffled = [row["texts"][1]["text"] for _, row in sorted(made.items())]
    assert sorted(shuffled) == [f"seen {n}" for n in range(6)]
    assert all(text != f"seen {n}" for n, text in enumerate(shuffled))


def test_further_data_sets_by_uid_lists_and_weights(warehouse: Warehouse, tmp_path: Path) -> None:
    """VeCap beside DFN: the list says which samples of the pool are DFN's, and a sample of both is VeCap's."""
    put(warehouse, RAW_CRAWL, {"crawl_partition": "vecap"}, [raw("s1", "one")])
    uids = [f"{number:032x}" for number in (7, 2**64 + 5, 2**127)]
    pool = [{**raw(uid, f"pool {uid}"), "source_key": uid} for uid in uids]
    by_column = {**raw("keyed", "keyed"), "source_key": "000000001", "extra": json.dumps({"uid": f"{99:032x}"})}
    put(warehouse, RAW_CRAWL, {"crawl_partition": "pool"}, [*pool, by_column, raw("s1", "one"), raw("odd", "no uid")])
    assert write_uids(tmp_path / "dfn.npy", [uids[0], uids[2], f"{99:032x}"]) == 3
    listed = np.load(tmp_path / "dfn.npy")
    assert listed.dtype == np.dtype("u8,u8")
    assert listed.tolist() == sorted(listed.tolist())
    dfn = {"name": "dfn", "crawl_partitions": ["pool"], "uids": str(tmp_path / "dfn.npy"), "weight": 0.5}
    made = made_of(warehouse, recipe(datasets=[dfn], weight=2.0), [ALT])
    rows = rows_of(warehouse, made)
    assert {name for name, row in rows.items() if row["outcome"] == "kept"} == {"s1", uids[0], uids[2], "keyed"}
    assert (rows["s1"]["part"], rows["s1"]["weight"], rows[uids[0]]["part"], rows[uids[0]]["weight"]) == (
        MAIN,
        2.0,
        "dfn",
        0.5,
    )
    assert {rows[uids[1]]["reason"], rows["odd"]["reason"]} == {"not_listed"}
    assert read_uids(tmp_path / "dfn.npy").num_rows == 3
    (tmp_path / "dfn.npy").write_bytes(b"no list")
    with pytest.raises(VeclipError, match="is no list of uids"):
        read_uids(tmp_path / "dfn.npy")
