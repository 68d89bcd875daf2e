"""The join that needs no model."""

from __future__ import annotations

import pytest

from veclip_pipelines.captioning.fallbacks import template_join


@pytest.mark.parametrize(
    ("alt_text", "concept", "expected"),
    [
        ("our cat Chelsea!", "a cat in brown", ("our cat Chelsea, a cat in brown", "template")),
        ("IMG_2041.jpg", "a daisy in orange", ("a daisy in orange", "concept")),
        ("", "a daisy in orange", ("a daisy in orange", "concept")),
        ("a daisy in an orange vase", "a daisy in orange", ("a daisy in an orange vase", "alt_text")),
        ("a daisy", "", ("a daisy", "alt_text")),
        ("", "", ("", "concept")),
        ("Cup - $4.99", "a cup in red", ("Cup, a cup in red", "template")),
    ],
)
def test_join(alt_text: str, concept: str, expected: tuple[str, str]) -> None:
    assert template_join(alt_text, concept) == expected


def test_an_endless_alt_text_is_cut() -> None:
    text, _ = template_join("word " * 500, "a cat")
    assert len(text.split()) < 30
