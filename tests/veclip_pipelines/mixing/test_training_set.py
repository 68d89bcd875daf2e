"""Training sets: pinned, reproducible, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.mixing.training_set import ResolvedText, input_versions, make_training_set, set_version_of
from veclip_pipelines.recipe import Recipe
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.query import content_version, read_rows
from veclip_pipelines.tables.schemas import RAW_CRAWL, TRAINING_SETS, VECAP
from veclip_pipelines.tables.spec import TableSpec
from veclip_pipelines.tables.warehouse import Warehouse

ALT = ResolvedText("alt_text", 0.5, None, None)
FUSED = ResolvedText("vecap", 0.5, "f1", "smollm2-fusion")


def recipe(partitions: object = "all") -> Recipe:
    return Recipe.model_validate(
        {
            "name": "r",
            "description": "",
            "crawl_partitions": partitions,
            "texts": [{"source": "alt_text", "probability": 1.0}],
        }
    )


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
    inputs = input_versions(warehouse, recipe(), "h", [ALT, FUSED])
    made = make_training_set(warehouse, recipe(), [ALT, FUSED], inputs, properties={})
    rows = {
        row["sample_id"]: row for row in read_rows(warehouse, "SELECT * FROM training_sets", tables=["training_sets"])
    }
    assert (made.rows, made.kept, sorted(rows)) == (3, 2, ["s1", "s2", "s4"])
    assert [text["text"] for text in rows["s1"]["texts"]] == ["one", "fused s1"]
    assert rows["s1"]["probabilities"] == [0.5, 0.5]
    assert ([text["source"] for text in rows["s2"]["texts"]], rows["s2"]["probabilities"]) == (["vecap"], [1.0])
    assert (rows["s4"]["outcome"], rows["s4"]["reason"]) == ("rejected", "no_text")


def test_the_same_inputs_give_the_same_set(warehouse: Warehouse) -> None:
    fill(warehouse)
    twin = Warehouse.at(warehouse.root + "-twin")
    fill(twin)
    made = [
        make_training_set(w, recipe(), [ALT, FUSED], input_versions(w, recipe(), "h", [ALT, FUSED]), properties={})
        for w in (warehouse, twin, warehouse)
    ]
    assert made[0].set_version == made[1].set_version
    assert (made[0].changed, made[2].changed) == (True, False)
    partition = {"recipe": "r", "set_version": made[0].set_version}
    assert content_version(warehouse, TRAINING_SETS, partition) == content_version(twin, TRAINING_SETS, partition)


def test_any_changed_input_is_another_version(warehouse: Warehouse) -> None:
    fill(warehouse)
    versions = [set_version_of(input_versions(warehouse, recipe(), "h", [ALT, FUSED]))]
    versions.append(set_version_of(input_versions(warehouse, recipe(), "other", [ALT, FUSED])))
    put(warehouse, VECAP, {"crawl_partition": "a", "engine_id": "f1"},
        [{"sample_id": "s1", "input_hash": "s1", "text": "fused anew", "outcome": "kept"}], name="g")  # fmt: skip
    versions.append(set_version_of(input_versions(warehouse, recipe(), "h", [ALT, FUSED])))
    versions.append(set_version_of(input_versions(warehouse, recipe(["a"]), "h", [ALT, FUSED])))
    assert len(set(versions)) == 4


def test_what_is_not_there_yet_is_named(warehouse: Warehouse) -> None:
    with pytest.raises(VeclipError, match="no crawl partition is materialised"):
        input_versions(warehouse, recipe(), "h", [ALT])
    fill(warehouse)
    with pytest.raises(VeclipError, match="not materialised: zz"):
        input_versions(warehouse, recipe(["a", "zz"]), "h", [ALT])
    with pytest.raises(VeclipError, match="has no vecap by engine profile 'new'"):
        input_versions(warehouse, recipe(), "h", [ResolvedText("vecap", 1.0, "f9", "new")])
