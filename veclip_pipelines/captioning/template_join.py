"""The join that needs no language model: what describes in the AltText, then what is seen."""

from __future__ import annotations

from veclip_pipelines.captioning.words import content_stems
from veclip_pipelines.media.texts import descriptive_part

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
