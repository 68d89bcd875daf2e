"""Exports: read back as their users would, the same bytes each time, nothing lost."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import DropEntry, index, picture, write_drop
from PIL import Image

from veclip_pipelines.config.recipe import Recipe
from veclip_pipelines.errors import UsageError
from veclip_pipelines.export.datacomp import export_datacomp
from veclip_pipelines.export.huggingface import export_huggingface
from veclip_pipelines.export.webdataset import export_webdataset
from veclip_pipelines.mixing.mix import ResolvedText, resolve_mix
from veclip_pipelines.mixing.training_set import input_versions, make_training_set
from veclip_pipelines.schemas.crawl_schemas import VECAP
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

RECIPE = Recipe.model_validate({"name": "r", "description": "", "texts": [{"source": "alt_text", "probability": 1.0}]})


@pytest.fixture
def set_version(tmp_path: Path, warehouse: Warehouse) -> str:
    """25 samples with AltText and VeCap; one AltText is hostile, one picture is a GIF, which open_clip's loader cannot name."""
    entries = [
        DropEntry(f"text {number} ünïcode", picture(number, kind="JPEG"), extension="jpg") for number in range(23)
    ]
    entries += [
        DropEntry('<b>&amp;"</b>\n../x', picture(23)),
        DropEntry("a gif", picture(24, kind="GIF"), extension="jpg"),
    ]
    index(warehouse, write_drop(tmp_path / "drop", entries), "p")
    samples = read_rows(warehouse, "SELECT sample_id FROM raw_crawl WHERE outcome = 'kept'", tables=["raw_crawl"])
    rows = [
        {"sample_id": row["sample_id"], "input_hash": "h", "text": f"fused {row['sample_id']}", "outcome": "kept"}
        for row in samples
    ]
    partition = {"crawl_partition": "p", "engine_id": "e1"}
    file = write_file(warehouse, VECAP, partition, "f", table_of(VECAP, rows))
    replace_partition(
        warehouse, VECAP, partition, [file], expected=partition_files(warehouse.open(VECAP), partition), properties={}
    )
    texts = [
        ResolvedText(source="alt_text", probability=0.5),
        ResolvedText(source="vecap", probability=0.5, engine_id="e1", profile="p"),
    ]
    mix = resolve_mix(warehouse, RECIPE, {"main": texts})
    return make_training_set(warehouse, mix, input_versions(warehouse, mix), properties={}).set_version


def members(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def test_webdataset_shards(warehouse: Warehouse, set_version: str, tmp_path: Path) -> None:
    made = export_webdataset(warehouse, "r", set_version, tmp_path / "out", per_shard=10)
    assert (made.samples, made.shards) == (25, 3)
    assert (made.text_keys, made.text_probabilities) == (("alt_text", "vecap"), (0.5, 0.5))
    assert made.open_clip_arguments()[-5:] == [
        "--json-text-key",
        "alt_text;vecap",
        "--json-text-key-probs",
        "0.5",
        "0.5",
    ]
    sizes = json.loads((tmp_path / "out" / "sizes.json").read_text())
    assert sizes == {"00000.tar": 10, "00001.tar": 10, "00002.tar": 5}
    found = [member for name in sizes for member in members(tmp_path / "out" / name)]
    keys = [name.partition(".")[0] for name, _ in found]
    # A sample's three members are neighbours, and no key has a dot or comes twice.
    assert [keys[at] for at in range(0, 75, 3)] == sorted(set(keys))
    assert all(len(set(keys[at : at + 3])) == 1 for at in range(0, 75, 3))
    texts = set()
    for at in range(0, 75, 3):
        (image_name, data), (_, text), (_, facts_data) = found[at : at + 3]
        facts = json.loads(facts_data)
        assert Image.open(io.BytesIO(data)).format == {"jpg": "JPEG", "png": "PNG"}[image_name.rpartition(".")[2]]
        assert text.decode() in (facts["alt_text"], facts["vecap"])
        assert facts["vecap"] == f"fused {facts['sample_id']}"
        texts.add(facts["alt_text"])
    assert "text 3 ünïcode" in texts


def test_the_same_set_gives_the_same_shards_and_a_rerun_writes_what_is_missing(
    warehouse: Warehouse, set_version: str, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        export_webdataset(warehouse, "r", set_version, tmp_path / name, per_shard=10)
    shards = [sorted((tmp_path / name).glob("*.tar")) for name in ("a", "b")]
    assert [path.read_bytes() for path in shards[0]] == [path.read_bytes() for path in shards[1]]
    gone, kept = shards[0][1], shards[0][0].stat().st_mtime_ns
    data = gone.read_bytes()
    gone.unlink()
    export_webdataset(warehouse, "r", set_version, tmp_path / "a", per_shard=10)
    assert (gone.read_bytes(), shards[0][0].stat().st_mtime_ns) == (data, kept)
    with pytest.raises(UsageError, match="holds another export"):
        export_webdataset(warehouse, "r", set_version, tmp_path / "a", per_shard=7)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "x.tar").write_bytes(b"")
    with pytest.raises(UsageError, match="no export of ours"):
        export_webdataset(warehouse, "r", set_version, tmp_path / "theirs")


def test_a_datacomp_subset(warehouse: Warehouse, set_version: str, tmp_path: Path) -> None:
    assert export_datacomp(warehouse, "r", set_version, tmp_path / "subset.npy") == 25
    found = np.load(tmp_path / "subset.npy")
    assert found.dtype == np.dtype("u8,u8")
    uids = [f"{high:016x}{low:016x}" for high, low in found.tolist()]
    rows = read_rows(warehouse, "SELECT sample_id FROM raw_crawl WHERE outcome = 'kept'", tables=["raw_crawl"])
    assert uids == sorted(row["sample_id"] for row in rows)  # this drop has no uids of DataComp's


def test_a_hugging_face_folder(warehouse: Warehouse, set_version: str, tmp_path: Path) -> None:
    assert export_huggingface(warehouse, "r", set_version, tmp_path / "hf", per_file=20) == 25
    paths = sorted((tmp_path / "hf" / "data").glob("*.parquet"))
    assert [path.name for path in paths] == ["train-00000.parquet", "train-00001.parquet"]
    features = json.loads(pq.read_schema(paths[0]).metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert list(features) == pq.read_schema(paths[0]).names
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert len({row["sample_id"] for row in rows}) == 25
    assert all(Image.open(io.BytesIO(row["image"]["bytes"])).size == (row["width"], row["height"]) for row in rows)
    assert {(row["probability_alt_text"], row["probability_vecap"], row["caption"]) for row in rows} == {
        (0.5, 0.5, None)
    }
    assert "path: data/train-*.parquet" in (tmp_path / "hf" / "README.md").read_text()
    with pytest.raises(UsageError, match=r"another export, such as train-00001\.parquet"):
        export_huggingface(warehouse, "r", set_version, tmp_path / "hf", per_file=50)


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("VECLIP_TEST_FULL"), reason="open_clip's environment is made by make test-full alone"
)
def test_open_clip_reads_and_trains_on_it(warehouse: Warehouse, set_version: str, tmp_path: Path) -> None:
    from bench.peers import VISION, run_peer

    export_webdataset(warehouse, "r", set_version, tmp_path / "out", per_shard=10)
    found = run_peer("open_clip_epoch.py", str(tmp_path / "out"), "5", environment=VISION)
    assert (found["size"], found["shards"], found["seen"], found["keys"]) == (25, 3, 25, 25)
    assert {"alt_text", "vecap"} <= set(found["fields"])
    assert 0 < found["loss"] < 10


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("VECLIP_TEST_FULL"), reason="datasets' environment is made by make test-full alone"
)
def test_datasets_loads_it(warehouse: Warehouse, set_version: str, tmp_path: Path) -> None:
    from bench.peers import DATASETS

    export_huggingface(warehouse, "r", set_version, tmp_path / "hf", per_file=20)
    script = (
        "import sys, datasets; d = datasets.load_dataset(sys.argv[1], split='train'); r = d[0]; "
        "print(len(d), r['image'].size == (r['width'], r['height']), r['probability_vecap'])"
    )
    command = [str(DATASETS.python()), "-c", script, str(tmp_path / "hf")]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "HF_HOME": str(tmp_path / "cache")}
    )
    assert done.stdout.split() == ["25", "True", "0.5"]
