"""Opt-outs: which directives are meant for us."""

from __future__ import annotations

import pytest

from veclip_pipelines.crawl.fetch.directives import opted_out
from veclip_pipelines.crawl.policy import OPT_OUTS


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("X-Robots-Tag", "noai", "x-robots-tag: noai"),
        ("x-robots-tag", "nofollow, NoImageAI", "x-robots-tag: noimageai"),
        ("X-Robots-Tag", "veclip: noindex", "x-robots-tag: noindex"),
        ("X-Robots-Tag", "otherbot: noindex, noarchive", None),
        ("X-Robots-Tag", "otherbot: noindex, veclip: noml", "x-robots-tag: noml"),
        ("X-Robots-Tag", "unavailable_after: 25 Jun 2030 15:00:00 PST", None),
        ("X-Robots-Tag", "max-snippet: 20, noai", "x-robots-tag: noai"),
        ("X-Robots-Tag", "all", None),
        ("robots", "noimageindex", "robots: noimageindex"),
        ("googlebot", "noindex", None),
        ("veclip", "none", "veclip: none"),
        ("TDM-Reservation", "1", "tdm-reservation: 1"),
        ("tdm-reservation", "0", None),
        ("Content-Type", "noai", None),
    ],
)
def test_directives(name: str, value: str, refused: str | None) -> None:
    assert opted_out([(name, value)], OPT_OUTS, tdm=True, agent="veclip") == refused


def test_what_is_not_honoured_by_configuration() -> None:
    pairs = [("X-Robots-Tag", "noindex"), ("TDM-Reservation", "1")]
    assert opted_out(pairs, ("noai",), tdm=False) is None
