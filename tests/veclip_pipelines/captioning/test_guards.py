"""Guards: each on text that it must catch, and on text that it must not."""

from __future__ import annotations

import pytest

from veclip_pipelines.captioning.guards import GUARDS, FusionCase, first_fault, names_of
from veclip_pipelines.captioning.words import content_stems
from veclip_pipelines.engines.base import EngineText, FinishReason
from veclip_pipelines.engines.prompts import Example, Prompt

PROMPT = Prompt(
    name="p",
    version=1,
    purpose="fusion",
    description="",
    fields=("alt_text", "concept"),
    user="{{ alt_text }} {{ concept }}",
    examples=(
        Example(
            fields={"alt_text": "sunset over the pier", "concept": "a pier in orange"},
            answer="An orange sunset over the pier",
        ),
    ),
)
ALT, CONCEPT = "our cat Chelsea on the sofa", "a striped cat in brown and beige"


def case(text: str, alt: str = ALT, concept: str = CONCEPT, finish: FinishReason = "stop") -> FusionCase:
    return FusionCase(EngineText(text, finish, 9), alt, concept, PROMPT)


CAUGHT = [
    ("empty", case("")),
    ("empty", case(" ... ")),
    ("cut", case("a striped cat Chelsea on the", finish="length")),
    ("refusal", case("I'm sorry, I cannot describe Chelsea the cat")),
    ("refusal", case("I’m sorry, but as an AI I do not see Chelsea")),
    ("refusal", case("I can't help with Chelsea")),
    ("prompt_echo", case("An orange sunset over the pier")),
    ("meta_talk", case("The image shows our cat Chelsea on the sofa")),
    ("meta_talk", case("Here is the caption: our cat Chelsea")),
    ("meta_talk", case("This picture is of the cat Chelsea")),
    ("loop", case("a brown cat, a brown cat, a brown cat Chelsea")),
    ("loop", case("Chelsea Chelsea Chelsea cat")),
    ("too_long", case("cat " + "Chelsea on the sofa in brown and beige " * 9)),
    ("too_long", case("our cat Chelsea\non the sofa")),
    ("file_name", case("our cat Chelsea IMG_2041.jpg on the sofa", "our cat Chelsea on the sofa IMG_2041.jpg")),
    ("product_code", case("our cat Chelsea SKU 8841-B", "our cat Chelsea SKU 8841-B")),
    ("invented", case("our cat Chelsea on the sofa with a red ball")),
    ("invented", case("3 striped cats with Chelsea")),
    ("lost_name", case("our striped cat in brown on the sofa")),
    ("lost_alt_text", case("a striped cat in brown", "the old harbour wall")),
]

LET_THROUGH = [
    case("Our striped brown and beige cat Chelsea on the sofa"),
    case("Chelsea, our cat"),
    case("An orange sunset over the pier", "sunset over the pier", "a pier in orange"),
    case("A striped cat in brown", "", CONCEPT),
    case("A 2014 picture of a cat", "cat, 2014", CONCEPT),
    case("Turm im Sommerpalast von Peking in brown", "Turm im Sommerpalast von Peking", "a tower in brown"),
    case("Blue gift box with ribbon", "Gift Box With Ribbon", "a box in blue"),
]


@pytest.mark.parametrize(("reason", "caught"), CAUGHT)
def test_caught(reason: str, caught: FusionCase) -> None:
    assert GUARDS[reason](caught)
    assert first_fault(caught) is not None


@pytest.mark.parametrize("clean", LET_THROUGH)
def test_let_through(clean: FusionCase) -> None:
    assert first_fault(clean) is None


def test_every_guard_has_a_text_that_it_catches() -> None:
    assert {reason for reason, _ in CAUGHT} == set(GUARDS)


def test_names_are_told_where_they_can_be() -> None:
    assert names_of("our cat Chelsea in Jim's garage") == ["Chelsea", "Jim's"]
    assert names_of("Blue Gift Box With Ribbon") == []
    assert names_of("a dog. Then a cat") == []


def test_stems_meet() -> None:
    assert content_stems("shining cats' garages") == content_stems("shines cat garage")
