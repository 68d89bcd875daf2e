"""Guards on a fused caption: each looks for one fault of language models and answers with its reason code.

The faults are those that users of published captions complain of: empty answers, refusals, echoes of the prompt, "The
image shows", answers cut by the token budget, things that stand in neither source, names lost (paper, section 3.2: the
fusion adds nothing and keeps the AltText's knowledge).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from veclip_pipelines.captioning.words import FUNCTION_WORDS, content_stems, stem, words
from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.prompts import Prompt
from veclip_pipelines.texts import descriptive_part, has_file_name, has_product_code

MAX_WORDS = 40

_REFUSAL = re.compile(
    r"\b(?:i(?:'|’)?m sorry|i am sorry|i can(?:no|'|’)?t|i cannot|i(?:'|’)m unable|i am unable|as an ai|language model)\b",
    re.IGNORECASE,
)
_META = re.compile(
    r"^\W*(?:here(?:'s| is| are)\b|sure\b|(?:the|this)\s+(?:image|picture|photo|photograph|caption|alt\s?text|scene)\b)"
    r"|\b(?:alt\s?text|caption)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class FusionCase:
    """An answer with all that it is judged by."""

    answer: EngineText
    alt_text: str
    concept: str
    prompt: Prompt


def first_fault(case: FusionCase) -> str | None:
    """Reason code of the first guard that says no, or None."""
    for reason, guard in GUARDS.items():
        if guard(case):
            return reason
    return None


def _empty(case: FusionCase) -> bool:
    return not any(char.isalnum() for char in case.answer.text)


def _cut(case: FusionCase) -> bool:
    return case.answer.finish_reason == "length"


def _too_long(case: FusionCase) -> bool:
    return len(words(case.answer.text)) > MAX_WORDS or "\n" in case.answer.text


def _refusal(case: FusionCase) -> bool:
    return bool(_REFUSAL.search(case.answer.text))


def _prompt_echo(case: FusionCase) -> bool:
    text = " ".join(case.answer.text.lower().split())
    answers = {" ".join(example.answer.lower().split()) for example in case.prompt.examples}
    own = content_stems(f"{case.alt_text} {case.concept}")
    # The answer of an example is an echo, unless this row's own texts are that example's.
    return text in answers and not content_stems(text) <= own


def _loop(case: FusionCase) -> bool:
    found = [word.lower() for word in words(case.answer.text)]
    runs = list(zip(found, found[1:], found[2:], strict=False))
    return len(set(runs)) < len(runs) or any(
        found.count(word) > max(2, words(f"{case.alt_text} {case.concept}".lower()).count(word))
        for word in set(found) - FUNCTION_WORDS
    )


def _meta_talk(case: FusionCase) -> bool:
    return bool(_META.search(case.answer.text))


def _file_name(case: FusionCase) -> bool:
    return has_file_name(case.answer.text)


def _product_code(case: FusionCase) -> bool:
    return has_product_code(case.answer.text)


def _invented(case: FusionCase) -> bool:
    return bool(content_stems(case.answer.text) - content_stems(f"{case.alt_text} {case.concept}"))


def _lost_name(case: FusionCase) -> bool:
    return bool({stem(name) for name in names_of(case.alt_text)} - {stem(word) for word in words(case.answer.text)})


def _lost_alt_text(case: FusionCase) -> bool:
    wanted = content_stems(descriptive_part(case.alt_text))
    return bool(wanted) and not wanted & content_stems(case.answer.text)


#: In the order they are asked.
GUARDS: dict[str, Callable[[FusionCase], bool]] = {
    "empty": _empty,
    "cut": _cut,
    "refusal": _refusal,
    "prompt_echo": _prompt_echo,
    "meta_talk": _meta_talk,
    "loop": _loop,
    "too_long": _too_long,
    "file_name": _file_name,
    "product_code": _product_code,
    "invented": _invented,
    "lost_name": _lost_name,
    "lost_alt_text": _lost_alt_text,
}


def names_of(alt_text: str) -> list[str]:
    """Words of an AltText that are names: capitalised where a sentence would not capitalise them.

    In a text in title case every word is capitalised, and then no word can be told for a name by that: none is.
    """
    text = descriptive_part(alt_text)
    found = [word for word in words(text) if any(char.isalpha() for char in word)]
    content = [word for word in found if word.lower() not in FUNCTION_WORDS]
    capitalised = [word for word in content if word[0].isupper()]
    if len(content) > 2 and len(capitalised) > 0.6 * len(content):
        return []
    starts = {match.group(1) for match in re.finditer(r"(?:^|[.!?]\s+)([^\W\d_]+)", text)}
    # The first word is a name too where another name follows it at once (Chelsea Morning): nobody can tell else.
    return [word for word in capitalised if word not in starts]
