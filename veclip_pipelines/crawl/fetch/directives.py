"""What the owner of a picture or page says about its use: X-Robots-Tag, meta robots, TDM-Reservation.

A directive may be addressed to one crawler: ``X-Robots-Tag: otherbot: noindex`` and ``<meta name="otherbot" content="noindex">``
do not concern us.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Directives that take a value: the name before their colon is not a user agent.
_VALUED = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


def opted_out(pairs: Iterable[tuple[str, str]], directives: Sequence[str], *, tdm: bool, agent: str = "") -> str | None:
    """The directive that says no, verbatim, or None.

    Args:
        pairs: HTTP headers and meta tags, as (name, value).
        directives: what counts as a no.
        tdm: whether a reservation of text and data mining counts (W3C TDM Reservation Protocol).
        agent: our user agent: directives addressed to it count, those addressed to others do not.
    """
    for name, value in pairs:
        lowered = name.strip().lower()
        if lowered == "tdm-reservation" and tdm and value.strip() == "1":
            return "tdm-reservation: 1"
        if lowered in ("x-robots-tag", "robots") or (agent and lowered == agent.lower()):
            for directive in _for_us(value, agent.lower()):
                if directive in directives:
                    return f"{lowered}: {directive}"
    return None


def _for_us(value: str, agent: str) -> Iterable[str]:
    """The directives of one value. In ``agent: a, b`` the agent applies to all that follow, up to the next agent."""
    ours = True
    for part in value.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in _VALUED:
            ours = name.strip() in (agent, "*")
            part = rest
        if ours:
            yield part.strip()
