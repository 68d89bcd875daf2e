"""What a row gets where no answer of the engine may stand: the policy of its profile decides, and the row says which."""

from __future__ import annotations

from dataclasses import replace

from veclip_pipelines.captioning.plan import Unit
from veclip_pipelines.captioning.results import Caption
from veclip_pipelines.captioning.template_join import template_join
from veclip_pipelines.engines.profiles import Fallback


def fall_back(choice: Fallback, unit: Unit, judged: Caption, reason: str) -> Caption:
    """The row's text without the engine, or its reject.

    Args:
        choice: what the policy says of this reason.
        unit: a unit with neither AltText nor concept caption (a picture to be described) has nothing to fall back to.
        judged: what is known of the row so far: last answer, faults, attempts.
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
