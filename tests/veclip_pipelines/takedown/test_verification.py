"""The search finds what was taken down wherever it is left, and is silent about what may stay."""

from __future__ import annotations

import base64
import gzip
import io
import json
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import add_member
from hypothesis import given
from hypothesis import strategies as st
from lineage_story import TEXT, take_down, tell
from PIL import Image

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.text_fingerprints import LEAST_WORDS, Wanted, fingerprint
from veclip_pipelines.takedown.verification import Verified, verify


def checkers() -> bytes:
    """A picture that looks like none of the others."""
    buffer = io.BytesIO()
    squares = [(x // 12 * 7 + y // 10 * 5) ** 2 * 37 % 256 for y in range(40) for x in range(48)]
    image = Image.new("L", (48, 40))
    image.putdata(squares)
    image.save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = checkers()


@pytest.fixture
def gone(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> Settings:
    """A sample with a telling AltText, taken down, with nothing held back."""
    tell(tmp_path, settings, warehouse, alt_texts={2: TEXT}, pictures={2: PICTURE})
    take_down(settings, warehouse, PICTURE)
    return settings


def left(settings: Settings, warehouse: Warehouse) -> set[tuple[str, str, str]]:
    found = verify(warehouse, settings)
    assert found.unreadable == {}
    return {(Path(one.uri).name, one.kind, one.state) for one in found.remnants}


def test_nothing_is_left(gone: Settings, warehouse: Warehouse) -> None:
    found: Verified = verify(warehouse, gone)
    assert found.remnants == ()
    assert found.is_clean
    assert (found.pictures, found.texts) == (1, 3)
    assert found.places > 20


def as_text(path: Path) -> None:
    path.write_text(f"12:00 captioning failed for <b>{TEXT.upper()}</b>; going on")


def as_json(path: Path) -> None:
    path.write_text(json.dumps({"a": [TEXT]}))


def as_html(path: Path) -> None:
    path.write_text("<p>the grey cat of Mrs. M&uuml;ller on her balcony</p>")


def as_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(f"line\n{TEXT}\n".encode()))


def in_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE events (body TEXT)")
        connection.execute("INSERT INTO events VALUES (?)", [json.dumps({"x": TEXT})])
    connection.close()


def in_parquet(path: Path) -> None:
    pq.write_table(pa.table({"n": [1], "texts": [[{"text": TEXT}]]}), path)


def far_inside(path: Path) -> None:
    path.write_text("word " * 7_000_000 + TEXT + " word" * 10)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (as_text, "run.log"),
        (as_json, "plan.json"),
        (as_html, "page.html"),
        (as_gzip, "log.gz"),
        (in_sqlite, "events.db"),
        (in_parquet, "staged.parquet"),
        pytest.param(far_inside, "big.log", marks=pytest.mark.slow),
    ],
)
def test_a_text_is_found(gone: Settings, warehouse: Warehouse, write: Callable[[Path], None], name: str) -> None:
    gone.dagster_home.mkdir(parents=True, exist_ok=True)
    write(gone.dagster_home / name)
    assert left(gone, warehouse) == {(name, "text", "found")}


def in_a_tar(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        add_member(tar, "a.png", PICTURE)


def in_a_page(path: Path) -> None:
    path.write_bytes(b'<img src="data:image/png;base64,' + base64.b64encode(PICTURE) + b'">')


def in_a_column(path: Path) -> None:
    pq.write_table(pa.table({"image": [{"bytes": PICTURE, "path": "x"}]}), path)


def as_a_thumbnail(path: Path) -> None:
    with Image.open(io.BytesIO(PICTURE)) as image:
        image.resize((96, 80), Image.Resampling.LANCZOS).save(path, "PNG")


@pytest.mark.parametrize(
    ("write", "name", "kind"),
    [
        (in_a_tar, "shard.tar", "picture"),
        (in_a_page, "report.html", "picture"),
        (in_a_column, "export.parquet", "picture"),
        (as_a_thumbnail, "preview.png", "looks"),
    ],
)
def test_a_picture_is_found(
    gone: Settings, warehouse: Warehouse, write: Callable[[Path], None], name: str, kind: str
) -> None:
    write(gone.home / name)
    assert left(gone, warehouse) == {(name, kind, "found")}


def test_earlier_contents_are_named_with_their_time(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> None:
    tell(tmp_path, settings, warehouse, pictures={2: PICTURE})
    takedown = take_down(settings, warehouse, PICTURE, keep_days=3)
    found = verify(warehouse, settings)
    assert {one.state for one in found.remnants} == {"held"}
    assert {one.until for one in found.remnants} == {takedown.erase_after}
    assert not found.is_clean


def test_what_others_have_too_says_nothing(gone: Settings, warehouse: Warehouse) -> None:
    """A text that a sample which stays has word for word is no remnant."""
    (gone.home / "other.log").write_text("text 3")
    assert left(gone, warehouse) == set()


@given(
    st.lists(st.text(alphabet="abcäß", min_size=1, max_size=6), min_size=LEAST_WORDS, max_size=12), st.text(), st.text()
)
def test_a_fingerprint_is_found_in_any_surrounding(words: list[str], before: str, after: str) -> None:
    text = " ".join(words)
    found = fingerprint(text)
    assert found is not None
    assert Wanted([found]).within(f"{before} , {'-'.join(words)} ! {after}") == {found}
    assert Wanted([found]).within(" ".join(words[:-1])) == set()
