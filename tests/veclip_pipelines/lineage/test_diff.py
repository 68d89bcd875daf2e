"""Comparisons of engines and of training sets: what changed, counted by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from lineage_story import EVIL, HAND, add, make_set, put, tell
from training_jobs import RECIPE

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import UsageError
from veclip_pipelines.lineage.diff import diff
from veclip_pipelines.schemas.crawl_schemas import ENGINES, VECAP
from veclip_pipelines.serving.trace_page import diff_page
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

OTHER = "0" * 32


@pytest.fixture
def told(tmp_path: Path, settings: Settings, warehouse: Warehouse) -> str:
    """The story, and another fusion of it: two texts as before, one with half of its words, the others of quite other words."""
    version = tell(tmp_path, settings, warehouse)
    add(
        warehouse, ENGINES, engine_id=OTHER, profile="other", kind="k", model="m", decoding="{}", code_version="1", library_versions="{}",
        first_used_at=datetime.now(UTC),
    )  # fmt: skip
    samples = read_rows(warehouse, "SELECT * FROM vecap ORDER BY sample_id", tables=["vecap"])
    rows: list[dict[str, object]] = []
    for number, row in enumerate(samples):
        text = row["text"] if number < 2 else f"Fused, {EVIL}" if number == 2 else f"something else {number}"
        faults = ["invented"] if number == 3 else []
        rows.append(
            {
                "sample_id": row["sample_id"],
                "input_hash": "h",
                "outcome": "kept",
                "text": text,
                "route": "engine",
                "faults": faults,
            }
        )
    rows[-1] |= {"outcome": "rejected", "reason": "empty", "text": None}
    put(warehouse, VECAP, OTHER, rows)
    return version


def test_two_engines(warehouse: Warehouse, told: str) -> None:
    found = diff(warehouse, "hand", "other", examples=3)
    assert (found.kind, found.rows) == (
        "vecap", {"left": 7, "right": 6, "both": 6, "only_left": 1, "only_right": 0, "changed": 4},
    )  # fmt: skip
    (source,) = found.sources
    assert (source["left_words"], source["changed"]) == (2.0, pytest.approx(4 / 6))
    # Two alike, one with one word of four in common, three with none.
    assert source["overlap"] == pytest.approx((2 + 1 / 5) / 6)
    shares = {row["what"]: (row["left_share"], row["right_share"]) for row in found.faults}
    assert shares["guard invented"] == (0.0, pytest.approx(1 / 7))
    assert shares["rejected empty"] == (0.0, pytest.approx(1 / 7))
    assert len(found.examples) == 3
    assert all(row["overlap"] == 0 and row["image_sha256"] and row["alt_text"] for row in found.examples)
    assert "<script" not in diff_page(warehouse, diff(warehouse, HAND, OTHER))


def test_two_sets(warehouse: Warehouse, told: str) -> None:
    other = make_set(warehouse, RECIPE.model_copy(update={"name": "r2"}), OTHER)
    found = diff(warehouse, "r", f"r2@{other}")
    assert (found.left, found.right) == (f"r@{told}", f"r2@{other}")
    assert (found.rows["both"], found.rows["changed"]) == (7, 4)
    sources = {row["source"]: row for row in found.sources}
    assert (sources["alt_text"]["changed"], sources["vecap"]["right_texts"]) == (0.0, 6)
    same = diff(warehouse, "r", told)
    assert same.rows["changed"] == 0
    assert not same.examples
    assert "data:image/jpeg" in diff_page(warehouse, found)


def test_what_cannot_be_compared(warehouse: Warehouse, told: str) -> None:
    with pytest.raises(UsageError, match="no training set and no engine named 'nobody'"):
        diff(warehouse, "r", "nobody")
    with pytest.raises(UsageError, match="cannot be compared"):
        diff(warehouse, "r", "hand")
    with pytest.raises(UsageError, match="cannot be compared"):
        diff(warehouse, "eye", "hand")
