"""robots.txt of each host, fetched once and kept for the client's lifetime (RFC 9309), parsed by Protego."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
from protego import Protego
from yarl import URL

_SECONDS = 10.0


class RobotsCache:
    """Fetches a host's robots.txt when the first of its pictures is wanted."""

    def __init__(self, get: Callable[[URL], Awaitable[str | None]], user_agent: str) -> None:
        self._get = get
        self._user_agent = user_agent
        self._rules: dict[str, asyncio.Task[Protego | None]] = {}

    async def may_fetch(self, url: URL) -> bool:
        """Whether the host allows us this URL. A host whose robots.txt cannot be fetched forbids nothing."""
        origin = str(url.origin())
        if origin not in self._rules:
            self._rules[origin] = asyncio.create_task(self._load(url))
        # Shielded: the first caller's deadline must not cancel the fetch for the others.
        rules = await asyncio.shield(self._rules[origin])
        return rules is None or bool(rules.can_fetch(str(url), self._user_agent))

    async def _load(self, url: URL) -> Protego | None:
        try:
            async with asyncio.timeout(_SECONDS):
                text = await self._get(url.origin() / "robots.txt")
            return Protego.parse(text) if text else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None
