"""Tables of the field's data sets: columns by name, in any order; extra ones are kept; errors name what does not fit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import picture
from drops import write_table

from veclip_pipelines.crawl.drops import inspect_drop
from veclip_pipelines.crawl.formats.base import Entry
from veclip_pipelines.crawl.formats.registry import format_named
from veclip_pipelines.errors import UsageError

URL = "https://x.example/1.jpg"
DATA_SETS: dict[str, tuple[dict[str, Any], str, dict[str, str], set[str]]] = {
    "datacomp": (
        {"uid": "a" * 32, "url": URL, "text": "A cat", "original_width": 4, "original_height": 3, "clip_b32_similarity_score": 0.2,
         "clip_l14_similarity_score": 0.3, "face_bboxes": [[0.1, 0.2, 0.3, 0.4]], "sha256": "b" * 64},
        "A cat", {}, {"face_bboxes", "clip_l14_similarity_score"},
    ),
    "laion": (
        {"SAMPLE_ID": 7, "URL": URL, "TEXT": "A cat", "HEIGHT": 3.0, "WIDTH": 4.0, "LICENSE": "?", "NSFW": "UNLIKELY",
         "similarity": 0.3, "LANGUAGE": "en", "punsafe": 0.01, "pwatermark": float("nan"), "hash": 12},
        "A cat", {}, {"NSFW", "punsafe", "pwatermark", "LANGUAGE"},
    ),
    "laion-coco": (
        {"URL": URL, "TEXT": "A cat", "top_caption": "a cat on a sofa", "all_captions": ["a cat", "cat"], "all_similarities": [0.3, 0.2]},
        "A cat", {"top_caption": "a cat on a sofa"}, {"all_captions"},
    ),
    "coyo": ({"id": 4, "url": URL, "text": "A cat", "clip_similarity_vitb32": 0.2, "nsfw_score_opennsfw2": 0.1}, "A cat", {}, set()),
    "recap-datacomp": (
        {"url": URL, "re_caption": "A gray cat.", "org_caption": "A cat", "sha256": "c", "key": "0001", "re_clip_score": 0.3,
         "org_clip_score": 0.2, "re_length": 3, "org_length": 2, "re_gpt4v_score": 4, "org_gpt4v_score": 3,
         "re_caption_condition_diverse_topk": "A cat, gray.", "re_condition_length": 3},
        "A cat", {"re_caption": "A gray cat.", "re_caption_condition_diverse_topk": "A cat, gray."}, {"re_clip_score"},
    ),
    "capsfusion": (
        {"image_url": URL, "laion_2b": "A cat", "laion_coco": "a cat", "capsfusion": "A cat sits."},
        "A cat", {"laion_coco": "a cat", "capsfusion": "A cat sits."}, set(),
    ),
}  # fmt: skip


def entries_of(folder: Path) -> list[Entry]:
    drop = inspect_drop(str(folder))
    return [entry for source in drop.sources for entry in format_named(drop.format).read(drop.uri, source)]


@pytest.mark.parametrize("name", DATA_SETS)
@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv", "jsonl"])
@pytest.mark.parametrize("seed", [0, 1])
def test_data_sets_are_read_by_name_in_any_order(tmp_path: Path, name: str, ending: str, seed: int) -> None:
    row, text, captions, extra = DATA_SETS[name]
    names = [*row, "something_new"]
    random.Random(seed).shuffle(names)
    folder = write_table(tmp_path / "d" / f"part-0.{ending}", [{key: row.get(key, "kept") for key in names}])
    drop = inspect_drop(str(folder))
    assert (drop.format, drop.label) == ("url-table", name)
    assert drop.entries == (1 if ending == "parquet" else None)
    (entry,) = entries_of(folder)
    assert (entry.url, entry.alt_text_raw, dict(entry.captions)) == (URL, text, captions)
    assert {"something_new", *extra} <= set(entry.extra)
    assert entry.extra["something_new"] == "kept"


def test_rows_that_do_not_fit_are_faults_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.csv").write_bytes(
        b'\xef\xbb\xbfurl,text\n'
        b'https://x.example/1,"two\nlines, a comma"\n'
        b"https://x.example/2,one,too many\n"
        b"https://x.example/3\n"
        b",no url\n"
        b"https://x.example/5,bad \xff utf-8\n"
    )  # fmt: skip
    entries = entries_of(tmp_path / "d")
    assert [entry.fault[0] if entry.fault else "" for entry in entries] == [
        "",
        "malformed_row",
        "malformed_row",
        "no_picture_named",
        "",
    ]
    assert entries[0].alt_text_raw == "two\nlines, a comma"
    assert entries[4].alt_text_raw == "bad \ufffd utf-8"
    (tmp_path / "e").mkdir()
    (tmp_path / "e/a.jsonl").write_text(
        '{"url": "https://x.example/1", "text": "a"}\n{broken\n[1]\n\n{"url": 3, "text": null}\n', "utf-8"
    )
    reasons = [entry.fault[0] if entry.fault else "" for entry in entries_of(tmp_path / "e")]
    assert reasons == ["", "malformed_row", "malformed_row", "no_picture_named"]


def test_a_table_of_nulls_alone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    table = pa.table({"url": pa.array(["https://x.example/1"]), "text": pa.nulls(1), "re_caption": pa.nulls(1)})
    pq.write_table(table, tmp_path / "d/a.parquet")
    (entry,) = entries_of(tmp_path / "d")
    assert (entry.alt_text_raw, entry.captions) == ("", {})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "link,words\n1,2\n", r"a\.csv has no column for the picture's url.*link, words"),
        ("a.csv", "url,words\n1,2\n", r"a\.csv has no column with a text.*url, words"),
        ("a.csv", "", r"a\.csv is empty"),
        ("a.jsonl", "nothing\n", r"a\.jsonl has no line that is a JSON object"),
        ("a.parquet", "no parquet", r"a\.parquet cannot be read as Parquet"),
    ],
)
def test_a_file_whose_schema_does_not_fit_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(UsageError, match=message):
        inspect_drop(str(tmp_path))


def test_loose_pictures_with_a_table(tmp_path: Path) -> None:
    folder = write_table(
        tmp_path / "d" / "texts.csv", [{"file_name": "pics/1.png", "caption": "one", "licence": "CC0"}]
    )
    (folder / "pics").mkdir()
    (folder / "pics/1.png").write_bytes(picture(1))
    drop = inspect_drop(str(folder))
    assert (drop.format, drop.sources) == ("picture-folder", ("texts.csv",))
    (entry,) = entries_of(folder)
    assert (entry.picture_path, entry.alt_text_raw, entry.extra) == ("pics/1.png", "one", {"licence": "CC0"})


def test_loose_pictures_without_a_table(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(picture(1))
    with pytest.raises(UsageError, match="no table of their texts"):
        inspect_drop(str(tmp_path))
