"""Guards on an engine's answer: each looks for one fault of language models and answers with its reason code.

The faults are those that users of published captions complain of (field notes): empty answers, refusals, echoes of the
prompt, "The image shows", answers cut by the token budget, things that are in neither source, names lost (paper,
section 3.2: the fusion adds nothing and keeps the AltText's knowledge). What happens then is the profile's policy
(captioning/fallbacks.py). Boilerplate is looked for over a whole partition (captioning/boilerplate.py), and the engine
is not asked about what is known to be unrelated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from veclip_pipelines.captioning.words import (
    FUNCTION_WORDS,
    content_stems,
    instruction_of,
    is_garbled,
    numbers_of,
    stem,
    words,
)
from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.profiles import GuardPolicy
from veclip_pipelines.engines.prompts import Prompt
from veclip_pipelines.media.texts import descriptive_part, has_file_name, has_product_code

_REFUSAL = re.compile(
    r"\b(?:(?:i(?:'|’)?m|i am|we(?:'|’)re) (?:sorry|unable|not able|afraid)|i (?:can(?:no|'|’)?t|cannot|could(?:n't|n’t| not)|do not|"
    r"don(?:'|’)t) (?:\w+ )?(?:see|describe|help|assist|provide|identify|determine|view|process|comply|fulfil|create|generate|"
    r"answer|tell|have|do)|as an? (?:ai|artificial|language)|(?:ai|language) model|unable to (?:see|describe|provide|assist|view)|"
    r"against (?:my|our) (?:guidelines|policy|policies)|no image (?:was )?(?:provided|attached|given))\b",
    re.IGNORECASE,
)
_MEDIUM = r"(?:image|picture|photo|photograph|caption|alt\s?text|scene|snapshot|illustration)"
_META = re.compile(
    rf"^\W*(?:here(?:'s|’s| is| are)\b|sure\b|certainly\b|of course\b|(?:the|this|that)\s+(?:\w+\s+)?{_MEDIUM}\b"
    rf"|in (?:the|this)\s+{_MEDIUM}\b|based on\b|caption\s*:|(?:revised|final|fused|rewritten)\s+\w+\s*:)"
    r"|\b(?:alt\s?text|caption(?:ed|s)?)\b|\b(?:the|this) (?:image|picture|photo) (?:shows|features|depicts|displays|captures)\b"
    r"|\bi hope\b|\blet me know\b",
    re.IGNORECASE,
)
#: This many words of the prompt in a row are an echo and no accident.
_ECHO_WORDS = 8


@dataclass(frozen=True)
class Case:
    """An answer with all that it is judged by.

    Attributes:
        alt_text, concept: the sources of a fusion; None for an answer about a picture alone.
        sees: whether the engine saw the picture: then facts may come from there, and cannot be checked against the
            texts.
    """

    answer: EngineText
    prompt: Prompt | None
    alt_text: str | None = None
    concept: str | None = None
    sees: bool = False

    @property
    def text(self) -> str:
        return self.answer.text

    @property
    def told(self) -> str:
        """What the AltText says about the picture, without any instruction to a model that it contains."""
        order = instruction_of(self.alt_text or "")
        return order.rest if order else self.alt_text or ""

    @property
    def sources(self) -> str:
        return f"{self.alt_text or ''} {self.concept or ''}"


def first_fault(case: Case, policy: GuardPolicy) -> str | None:
    """Reason code of the first guard that objects, or None."""
    guards = GUARDS if case.alt_text is not None else _OF_ANY_ANSWER
    for reason, guard in guards.items():
        if reason not in policy.skip and guard(case):
            return reason
    return None


def _failed(case: Case) -> bool:
    return case.answer.finish_reason == "failed"


def _empty(case: Case) -> bool:
    return not any(char.isalnum() for char in case.text)


def _cut(case: Case) -> bool:
    return case.answer.finish_reason == "length"


def _too_long(case: Case) -> bool:
    most = case.prompt.max_words if case.prompt else 10_000
    return len(words(case.text)) > most or (case.alt_text is not None and "\n" in case.text)


def _refusal(case: Case) -> bool:
    return bool(_REFUSAL.search(case.text))


def _prompt_echo(case: Case) -> bool:
    if case.prompt is None:
        return False
    text = " ".join(case.text.lower().split())
    own = content_stems(case.sources)
    answers = {" ".join(example.answer.lower().split()) for example in case.prompt.examples}
    # The answer of an example is an echo, unless this row's own texts are that example's.
    if text in answers and not content_stems(text) <= own:
        return True
    asked = _runs([word.lower() for word in words(f"{case.prompt.system} {_without_fields(case.prompt.user)}")])
    return bool(asked & _runs([word.lower() for word in words(text)]))


def _loop(case: Case) -> bool:
    found = [word.lower() for word in words(case.text)]
    runs = list(zip(found, found[1:], found[2:], strict=False))
    if case.alt_text is None:
        # A long description may well repeat itself: only the same four words again and again are a loop.
        fours = list(zip(runs, found[3:], strict=False))
        return any(fours.count(four) > 2 for four in set(fours)) or _stutters(found)
    sources = [word.lower() for word in words(case.sources)]
    return len(set(runs)) < len(runs) or any(
        found.count(word) > max(2, sources.count(word)) for word in set(found) - FUNCTION_WORDS
    )


def _meta_talk(case: Case) -> bool:
    return bool(_META.search(case.text))


def _garbled(case: Case) -> bool:
    return is_garbled(case.text, case.sources if case.alt_text is not None else "", case.prompt)


def _file_name(case: Case) -> bool:
    return has_file_name(case.text)


def _product_code(case: Case) -> bool:
    return has_product_code(case.text)


def _obeyed_instruction(case: Case) -> bool:
    order = instruction_of(case.alt_text or "")
    if order is None:
        return False
    elsewhere = content_stems(f"{order.rest} {case.concept or ''}")
    said = content_stems(case.text)
    # It repeated what it was ordered to say, or nothing of what there was to say.
    return bool((said & content_stems(order.payload)) - elsewhere) or (bool(elsewhere) and not said & elsewhere)


def _invented(case: Case) -> bool:
    if case.sees:
        return False
    new_numbers = numbers_of(case.text) - numbers_of(case.sources)
    return bool(new_numbers or content_stems(case.text) - content_stems(case.sources))


def _lost_name(case: Case) -> bool:
    return bool({stem(name) for name in names_of(case.told)} - {stem(word) for word in words(case.text)})


def _lost_alt_text(case: Case) -> bool:
    wanted = content_stems(descriptive_part(case.told))
    return bool(wanted) and not wanted & content_stems(case.text)


#: In the order in which they are tried.
GUARDS: dict[str, Callable[[Case], bool]] = {
    "engine_failed": _failed,
    "empty": _empty,
    "cut": _cut,
    "refusal": _refusal,
    "prompt_echo": _prompt_echo,
    "obeyed_instruction": _obeyed_instruction,
    "meta_talk": _meta_talk,
    "garbled": _garbled,
    "loop": _loop,
    "too_long": _too_long,
    "file_name": _file_name,
    "product_code": _product_code,
    "invented": _invented,
    "lost_name": _lost_name,
    "lost_alt_text": _lost_alt_text,
}
#: Those that need no AltText. They judge descriptions of a picture too, in which a file name can only have been read
#: in the picture.
_OF_ANY_ANSWER = {
    name: GUARDS[name]
    for name in (
        "engine_failed", "empty", "cut", "refusal", "prompt_echo", "meta_talk", "garbled", "loop", "too_long",
    )
}  # fmt: skip


def names_of(alt_text: str) -> list[str]:
    """Words of an AltText that are names: capitalised where a sentence would not capitalise them.

    In title case every word is capitalised, so capitals do not reveal names: then there are none.
    """
    text = descriptive_part(alt_text)
    found = [word for word in words(text) if any(char.isalpha() for char in word)]
    content = [word for word in found if word.lower() not in FUNCTION_WORDS]
    capitalised = [word for word in content if word[0].isupper()]
    if len(content) > 2 and len(capitalised) > 0.6 * len(content):
        return []
    starts = {match.group(1) for match in re.finditer(r"(?:^|[.!?]\s+)([^\W\d_]+)", text)}
    # The first word is a name too where another name follows it at once (Chelsea Morning): there is no other way to
    # tell.
    return [word for word in capitalised if word not in starts]


def _without_fields(template: str) -> str:
    return re.sub(r"\{\{.*?\}\}|\{%.*?%\}", " | ", template)


def _runs(found: list[str]) -> set[tuple[str, ...]]:
    return set(zip(*(found[start:] for start in range(_ECHO_WORDS)), strict=False))


def _stutters(found: list[str]) -> bool:
    """The same word three times in a row."""
    return any(first == second == third for first, second, third in zip(found, found[1:], found[2:], strict=False))
