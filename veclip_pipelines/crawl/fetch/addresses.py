"""Where fetching may go: public addresses only, checked after DNS, for the first request and for each redirect.

The check is in the resolver that the connection itself uses, so that a name cannot resolve differently the second time.
A literal address never reaches a resolver and is checked separately.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class ForbiddenAddressError(OSError):
    """The URL leads to an address that is not public."""


def is_forbidden(address: str, allowed: Sequence[str] = ()) -> bool:
    """Whether an address is private, loopback, link-local, multicast, reserved or otherwise not public."""
    try:
        ip: Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(ip, ipaddress.IPv6Address):
        # An IPv4 address embedded in an IPv6 address leads to the same machine.
        if ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip.sixtofour:
            ip = ip.sixtofour
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if any(ip in ipaddress.ip_network(network) for network in allowed):
        return False
    return not ip.is_global or ip.is_multicast


def check_url(url: URL, allowed: Sequence[str] = ()) -> None:
    """Raises ForbiddenAddressError for a URL whose host is a literal address that is not public.

    Raises:
        ValueError: not an http URL, or one without a host.
    """
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("not an http URL")
    try:
        ipaddress.ip_address(url.host.partition("%")[0])
    except ValueError:
        return  # a name: the resolver checks the addresses it stands for
    if is_forbidden(url.host, allowed):
        raise ForbiddenAddressError(f"{url.host} is not a public address")


class PublicResolver(AbstractResolver):
    """Resolves names, and returns only public addresses."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._resolver = aiohttp.ThreadedResolver()
        self._allowed = tuple(allowed)

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        """Raises ForbiddenAddressError if a name stands for no public address, OSError if it does not resolve."""
        found = await self._resolver.resolve(host, port, family)
        public = [entry for entry in found if not is_forbidden(entry["host"], self._allowed)]
        if found and not public:
            raise ForbiddenAddressError(f"{host} stands for {found[0]['host']}, which is not a public address")
        return public

    async def close(self) -> None:
        await self._resolver.close()
