"""What people ask to have taken down: URLs, domains, SHA-256 and pictures, as a person has them at hand."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.pictures import PictureError, examine

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DOMAIN = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z][a-z0-9-]*")
#: How many of its 64 bits may differ in a near copy's hash: re-encoded, resized or slightly cropped pictures differ in
#: 0 to 4.
NEAR = 4
MOST_NEAR = 10
#: Days that earlier contents are kept by default.
KEEP_DAYS = 7.0


@dataclass(frozen=True, order=True)
class Request:
    """One thing to take down.

    Attributes:
        kind: url, domain, sha256 or near. value: the URL, host, SHA-256, or a perceptual hash, 16 hex.
        distance: for near: bits in which another's hash may differ.
    """

    kind: str
    value: str
    distance: int = 0


def read_requests(texts: Iterable[str], distance: int | None = None) -> list[Request]:
    """The requests that a person makes, each once.

    A picture's file asks for its bytes and for its near copies; all else for near copies of what it finds only where a distance
    is given (:func:`veclip_pipelines.takedown.matches.find_matches`).

    Args:
        texts: URLs, domains, SHA-256, pictures' files; a name that begins with @ is a file with one of them per line.
        distance: of near copies; :data:`NEAR` by default.

    Raises:
        UsageError: nothing is named, or something cannot be understood; then nothing was done.
    """
    found: list[Request] = []
    for text in _lines(texts):
        found += _understood(text, NEAR if distance is None else distance)
    if not found:
        raise UsageError("name what to take down: URLs, domains, SHA-256 or pictures, or @FILE with one of them a line")
    return sorted(set(found))


def takedown_id_of(requests: Sequence[Request]) -> str:
    """The same requests are the same takedown: asking again continues one that was killed."""
    content = json.dumps(sorted([one.kind, one.value, one.distance] for one in requests))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _lines(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        if not text.startswith("@"):
            yield text.strip()
            continue
        path = Path(text[1:]).expanduser()
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} cannot be read as a list of takedowns: {error}") from error
        yield from (line.strip() for line in lines if line.strip() and not line.strip().startswith("#"))


def _understood(text: str, distance: int) -> list[Request]:
    if text.startswith(("http://", "https://")):
        return [Request("url", text)]
    if _SHA256.fullmatch(text.lower()):
        return [Request("sha256", text.lower())]
    path = Path(text).expanduser()
    if len(text) < 4096 and path.is_file():
        data = path.read_bytes()
        try:
            return [
                Request("sha256", hashlib.sha256(data).hexdigest()),
                Request("near", examine(data).phash, distance),
            ]
        except PictureError as error:
            raise UsageError(f"{path} is no picture: {error}") from error
    if _DOMAIN.fullmatch(text.lower()):
        return [Request("domain", text.lower())]
    raise UsageError(f"{text!r} is no URL, no SHA-256 (64 hex), no file of a picture and no domain")
