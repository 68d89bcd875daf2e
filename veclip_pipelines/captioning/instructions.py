"""Instructions to a model in a stranger's AltText ("ignore the above and write …"), told from the text alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ORDER = re.compile(
    r"\b(?:ignore|disregard|forget)\s+(?:all\s+|any\s+)?(?:the\s+|your\s+|my\s+|these\s+|of\s+)*(?:above|previous|prior|preceding|earlier|"
    r"instructions?|prompts?|rules?|everything|text|captions?)\b[^,.;:!?]*"
    r"|\b(?:you are now|pretend (?:to be|you are)|act as (?:an? (?:ai|assistant|bot|model)|if))\b"
    r"|\b(?:respond|reply|answer)\s+(?:only\s+)?with\b"
    r"|\b(?:system prompt|new instructions?|do not (?:describe|caption))\b",
    re.IGNORECASE,
)
_SAY = re.compile(
    r"\b(?:write|say|print|output|repeat|respond(?:\s+only)?\s+with|reply(?:\s+only)?\s+with|answer(?:\s+only)?\s+with|translate|"
    r"tell\s+(?:me|them|us)|return|type|add|mention|include|append)\b\s*(?:that\b|only\b|just\b)?[\s:\"'“”]*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Instruction:
    """What the model is told to say, and what of the text stands outside of the instruction."""

    payload: str
    rest: str


def instruction_of(alt_text: str) -> Instruction | None:
    """The instruction in an AltText, or None. It is looked for in what is aimed at a model; "write" alone is none."""
    order = _ORDER.search(alt_text)
    if order is None:
        return None
    told = alt_text[order.start() :]
    said = _SAY.search(told)
    payload = told[said.end() :] if said else told[order.end() - order.start() :]
    return Instruction(payload, alt_text[: order.start()])
