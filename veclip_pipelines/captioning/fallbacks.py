"""What a row gets where no answer of the engine is accepted: its profile's policy decides, and the row records which."""

from __future__ import annotations

from dataclasses import replace

from veclip_pipelines.captioning.plan import Unit
from veclip_pipelines.captioning.results import Caption
from veclip_pipelines.captioning.words import content_stems
from veclip_pipelines.engines.profiles import Fallback
from veclip_pipelines.media.texts import descriptive_part


def fall_back(choice: Fallback, unit: Unit, judged: Caption, reason: str) -> Caption:
    """The row's text without the engine, or its reject.

    Args:
        choice: what the policy says about this reason.
        unit: a unit with neither AltText nor concept caption (a picture to be described) has nothing to fall back to.
        judged: what is known about the row so far: last answer, faults, attempts.
        reason: the guard that decided.
    """
    text, route = "", "concept"
    if choice == "template":
        text, route = template_join(unit.alt_text, unit.concept)
    elif choice == "concept":
        text = unit.concept
    if any(char.isalnum() for char in text):
        return replace(judged, text=text, route=route, reason=reason)
    detail = judged.detail or (judged.answer.detail if judged.answer and judged.answer.detail else None)
    return replace(
        judged, text=None, route=None, reason=reason, detail=detail or f"guard {reason}; nothing to fall back to"
    )


_MAX_ALT_WORDS = 25


def template_join(alt_text: str, concept: str) -> tuple[str, str]:
    """AltText and concept caption side by side, adding nothing.

    Returns:
        The text and its route: ``template``, or ``concept`` where the AltText describes nothing (a file name, a price),
        or ``alt_text`` where the concept caption says nothing that the AltText does not say.
    """
    described = " ".join(descriptive_part(alt_text).split()[:_MAX_ALT_WORDS])
    if not described:
        return concept, "concept"
    if not concept or content_stems(concept) <= content_stems(described):
        return described, "alt_text"
    return f"{described.rstrip('.,;:!')}, {concept}", "template"
