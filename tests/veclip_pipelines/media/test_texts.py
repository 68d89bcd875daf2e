"""AltText: cleaning, flags and language, without a network."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veclip_pipelines.media.texts import (
    MAX_ALT_TEXT,
    clean_alt_text,
    descriptive_part,
    flags_of,
    has_file_name,
    has_product_code,
    is_file_name,
    language_of,
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a &amp;amp;amp; b", "a & b"),
        ("eye &amp;lt;healthy&amp;gt;", "eye <healthy>"),
        ("cafÃ© au lait", "café au lait"),
        ("a\x00b\x07c \x1b[31mred", "abc red"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("\u202eright to left\u202c", "right to left"),
        ("  two\n\nlines\tand  tabs ", "two lines and tabs"),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        ("", ""),
        ("   \n ", ""),
        ("🐈🐈", "🐈🐈"),
        ("東京タワー", "東京タワー"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
def test_cleaning(raw: str, clean: str) -> None:
    assert clean_alt_text(raw) == clean


def test_keywords_without_end_are_cut() -> None:
    assert len(clean_alt_text("keyword " * 10_000)) <= MAX_ALT_TEXT


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=120) | st.text(alphabet="&amp;#38lt xÃ©Â\u200b\n<", max_size=60))
def test_cleaning_twice_is_cleaning_once(raw: str) -> None:
    once = clean_alt_text(raw)
    assert clean_alt_text(once) == once


@pytest.mark.parametrize(
    "text", ["IMG_2041.jpg", "DSC00012", "holiday-04.png", "Screenshot 2019-04-02", "a_b.JPEG c.gif"]
)
def test_file_names_are_told(text: str) -> None:
    assert is_file_name(text)
    assert has_file_name(text)
    assert "file_name" in flags_of(text)


@pytest.mark.parametrize(
    "text", ["a cat", "image", "Figure 12 of the report", "", "v2.0 of the app", "3 cats and 12 dogs", "node.js logo"]
)
def test_what_is_no_file_name(text: str) -> None:
    assert not is_file_name(text)


@pytest.mark.parametrize(
    "text", ["SKU 8841-B", "Mug Art.-Nr. 4471", "$4.99 only", "12,50 €", "cup CW-80113", "20% off"]
)
def test_product_codes_are_told(text: str) -> None:
    assert has_product_code(text)


@pytest.mark.parametrize("text", ["two cats", "route 66", "a 4x4 in the mud", "World War II", "the year 1999"])
def test_what_is_no_product_code(text: str) -> None:
    assert not has_product_code(text)


@pytest.mark.parametrize(
    ("text", "described"),
    [
        (
            "Espresso Cup Terracotta 80 ml - Free Shipping! | CupWorld SKU CW-80113",
            "Espresso Cup Terracotta 80 ml, CupWorld",
        ),
        ("IMG_2041.jpg", ""),
        ("Gift Box with Ribbon Item: GB-2291 20% off", "Gift Box with Ribbon"),
        ("our cat Chelsea, still sleepy", "our cat Chelsea, still sleepy"),
        ("Brick Wall - $4.99", "Brick Wall"),
        ("!!! | --", ""),
    ],
)
def test_the_descriptive_part(text: str, described: str) -> None:
    assert descriptive_part(text) == described


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("", ["empty"]),
        ("a red cat on a sofa", []),
        ("image", ["boilerplate", "too_short"]),
        ("Photo of", ["boilerplate"]),
        ("Click to enlarge image", ["boilerplate"]),
        ("No image available", ["boilerplate"]),
        ("Image 3 of 12", ["boilerplate"]),
        ("placeholder", ["boilerplate", "too_short"]),
        ("photo of a dog", []),
        ("the logo of the band", []),
        ("cat", ["too_short"]),
        ("東京タワー", []),
        ("🐈 🐈", ["too_short"]),
        ("keyword " * 56, ["too_long"]),
        ("write to me@shop.example today", ["email"]),
        ("call +49 30 1234567 now", ["phone"]),
        ("call (030) 123 45 67", ["phone"]),
        ("tel 555-123-4567", ["phone"]),
        ("holiday 2019-04-02 at the sea", []),
        ("the years 2020 2021 2022", []),
        ("router 192.168.1.1 setup", []),
        ("ISBN 978-3-16-148410-0 book", []),
        ("@handle on a wall", []),
    ],
)
def test_flags(text: str, flags: list[str]) -> None:
    assert flags_of(clean_alt_text(text)) == flags


def test_steps_come_in_their_order() -> None:
    """Entities before mojibake, both before what is invisible, white space and the cap last."""
    assert clean_alt_text("caf&Atilde;&copy;\u200b &amp;nbsp;  au   lait\x00") == "café au lait"
    assert clean_alt_text("a" * 5_000) == "a" * MAX_ALT_TEXT
    assert clean_alt_text(" " * 9_000 + "a") == "a"


@given(st.text(alphabet=st.characters(max_codepoint=126, min_codepoint=32, exclude_characters="&"), max_size=80))
def test_the_short_cut_for_plain_ascii_changes_nothing(raw: str) -> None:
    assert clean_alt_text(raw) == clean_alt_text("\u200b" + raw)


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
