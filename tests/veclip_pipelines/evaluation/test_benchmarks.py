"""Each benchmark layout, and benchmarks that are faulty."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import NAMES, class_folders, karpathy, webdataset
from builders import picture

from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation.benchmark_kinds import RetrievalBenchmark, ZeroShotBenchmark
from veclip_pipelines.evaluation.benchmarks import benchmark_folders, open_benchmark
from veclip_pipelines.media.shards import read_range


def test_karpathys_layout_is_read_by_its_split(tmp_path: Path) -> None:
    read = open_benchmark(karpathy(tmp_path / "b", [["one", "uno"], ["two"]]))
    assert isinstance(read, RetrievalBenchmark)
    assert (read.name, read.captions, read.owners) == ("b", (("one", "uno"), ("two",)), [0, 0, 1])
    assert [read_range(item) for item in read.pictures] == [picture(0), picture(1)]
    again = open_benchmark(karpathy(tmp_path / "c", [["one", "uno"], ["deux"]]))
    assert read.sha256(tmp_path) != again.sha256(tmp_path)


def test_cocos_own_file_name_and_folders(tmp_path: Path) -> None:
    """dataset_coco.json, and filepath before the name."""
    folder = karpathy(tmp_path / "coco", [["one"]])
    text = (
        (folder / "dataset.json")
        .read_text()
        .replace('"filename": "0.png"', '"filepath": "val2014", "filename": "0.png"')
    )
    (folder / "dataset.json").unlink()
    (folder / "dataset_coco.json").write_text(text)
    (folder / "val2014").mkdir()
    (folder / "images" / "0.png").rename(folder / "val2014" / "0.png")
    (folder / "images").rmdir()
    assert len(open_benchmark(folder).pictures) == 1


def test_class_folders_by_name_and_by_number(tmp_path: Path) -> None:
    read = open_benchmark(class_folders(tmp_path / "imagenet"))
    assert isinstance(read, ZeroShotBenchmark)
    assert (read.classes, read.labels) == (NAMES, (0,) * 4 + (1,) * 4 + (2,) * 4)
    assert read.prompts()[:3] == ["a photo of a red circle.", "red circle", "a photo of a blue square."]
    names = [f"class {number}" for number in range(11)]
    numbered = open_benchmark(class_folders(tmp_path / "v2", names, each=1, numbered=True))
    # 10 comes after 9 and not after 1.
    assert [read_range(item) for item in numbered.pictures] == [picture(number) for number in range(11)]


def test_clip_benchmarks_webdataset(tmp_path: Path) -> None:
    rows = [(picture(number), str(number % 3)) for number in range(7)]
    read = open_benchmark(webdataset(tmp_path / "vtab", rows, "cls", per_shard=4))
    assert isinstance(read, ZeroShotBenchmark)
    assert (read.labels, read.templates) == ((0, 1, 2, 0, 1, 2, 0), ("a photo of a {c}.", "many of {c}"))
    assert [read_range(item) for item in read.pictures] == [data for data, _ in rows]
    rows = [(picture(0), "one\nuno"), (picture(1), "two\n")]
    retrieval = open_benchmark(webdataset(tmp_path / "flickr", rows, "txt"))
    assert isinstance(retrieval, RetrievalBenchmark)
    assert retrieval.captions == (("one", "uno"), ("two",))


def test_pictures_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from veclip_pipelines.evaluation import picture_hashes as fingerprints

    folder = karpathy(tmp_path / "b", [["one"], ["two"]])
    first = open_benchmark(folder).fingerprints(tmp_path / "home")

    def refuses(_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(fingerprints, "_look", refuses)
    assert open_benchmark(folder).fingerprints(tmp_path / "home") == first
    monkeypatch.undo()
    (folder / "images" / "0.png").write_bytes(picture(9))
    assert open_benchmark(folder).fingerprints(tmp_path / "home") != first


def test_all_benchmarks_are_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no benchmark in"):
        benchmark_folders(tmp_path, "all")
    karpathy(tmp_path / "b", [["one"]])
    class_folders(tmp_path / "a")
    (tmp_path / "notes").mkdir()
    assert [folder.name for folder in benchmark_folders(tmp_path, "all")] == ["a", "b"]
    assert benchmark_folders(tmp_path, ("x",)) == [tmp_path / "x"]


def test_faults_of_karpathys_layout_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no benchmark in a layout that is known"):
        open_benchmark(tmp_path)
    folder = karpathy(tmp_path / "b", [["one"]])
    (folder / "images" / "0.png").unlink()
    with pytest.raises(UsageError, match="is missing"):
        open_benchmark(folder)
    (folder / "dataset.json").write_text('{"images": [{"filename": 1}]}')
    with pytest.raises(UsageError, match="not in Karpathy's layout"):
        open_benchmark(folder)
    (folder / "dataset.json").write_text('{"images": []}')
    with pytest.raises(UsageError, match="has no picture"):
        open_benchmark(folder)


def test_faults_of_the_other_layouts_are_named(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "a")
    (folder / "templates.txt").write_text("no place for it")
    with pytest.raises(UsageError, match="has no place for the class's name"):
        open_benchmark(folder)
    (folder / "classnames.txt").write_text("one\ntwo")
    with pytest.raises(UsageError, match="3 class folders and 2 names"):
        open_benchmark(folder)
    wds = webdataset(tmp_path / "w", [(picture(0), "7")], "cls")
    with pytest.raises(UsageError, match=r"of class 7, and classnames\.txt has 3 names"):
        open_benchmark(wds)
    with pytest.raises(UsageError, match="has no split 'val'; it has test"):
        open_benchmark(wds, "val")
    (wds / "test" / "0.tar").write_bytes(b"no tar")
    with pytest.raises(UsageError, match="cannot be read"):
        open_benchmark(wds)
