"""The language of a text, with confidence, without a network."""

from __future__ import annotations

import pytest

from veclip_pipelines.media.languages import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("A small red house by the lake, in the evening light", "en"),
        ("Der Turm im Sommerpalast von Peking, vom See aus gesehen", "de"),
        ("Une petite maison rouge au bord du lac", "fr"),
        ("東京タワーの夜景", "ja"),
        ("Красный дом у озера", "ru"),
    ],
)
def test_languages(text: str, language: str) -> None:
    found, confidence = language_of(text)
    assert found == language
    assert confidence is not None
    assert 0.5 < confidence <= 1.0


@pytest.mark.parametrize("text", ["", "  ", "12345", "🐈🐈", "!!! --"])
def test_what_has_no_letter_has_no_language(text: str) -> None:
    assert language_of(text) == (None, None)


def test_a_long_text_and_odd_characters_raise_nothing() -> None:
    assert language_of("keyword " * 5_000)[0] == "en"
    assert language_of("a\x00b \u202e c\ud800".encode("utf-8", "replace").decode())[1] is not None
