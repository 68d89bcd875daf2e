"""One picture over HTTP: bounded in time, bytes, tries and hops, with a reason code for each way it can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import zlib
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from types import TracebackType

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from yarl import URL

from veclip_pipelines.crawl.fetch.addresses import ForbiddenAddressError, PublicResolver, check_url
from veclip_pipelines.crawl.fetch.directives import opted_out
from veclip_pipelines.crawl.fetch.robots import RobotsCache
from veclip_pipelines.crawl.policy import FetchPolicy

_CHUNK = 64 * 1024
#: Types that certainly are not pictures. Others are let through: servers send pictures as text/plain or octet-stream.
_NO_PICTURE = ("text/html", "application/json", "application/xhtml", "application/pdf", "video/", "audio/", "text/css")


@dataclass(frozen=True)
class Fetched:
    """What became of one URL.

    Attributes:
        data: the body, None if there is no usable one.
        reason: reason code of a failure. detail: more about it, never the server's own words.
        final_url: where it was found, after redirects.
        tries: number of requests made.
    """

    data: bytes | None
    reason: str = ""
    detail: str = ""
    final_url: str | None = None
    tries: int = 1


class _FailedError(Exception):
    """One attempt's failure. ``wait``: seconds after which another attempt may help, None if none can."""

    def __init__(self, reason: str, detail: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.wait = reason, detail, wait


class PictureClient:
    """Fetches pictures; one for each event loop.

    Connections are kept and shared, and requests to one host are limited; cookies and the environment's proxies are not used.
    """

    def __init__(self, policy: FetchPolicy) -> None:
        self._policy = policy
        connector = aiohttp.TCPConnector(
            limit=policy.concurrency,
            limit_per_host=0,  # limited per host below, where waiting does not count towards the deadline
            resolver=PublicResolver(policy.allow_addresses),
            ttl_dns_cache=600,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            headers={"User-Agent": policy.user_agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=policy.connect_seconds),
        )
        self._robots = RobotsCache(self._get_robots, policy.user_agent) if policy.robots_txt else None
        self._hosts: dict[str, asyncio.Semaphore] = {}

    async def __aenter__(self) -> PictureClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._session.close()

    async def fetch(self, url: str) -> Fetched:
        """Fetches one URL within the policy's deadline. Never raises because of anything a server or a URL does."""
        try:
            parsed = URL(url)
            check_url(parsed, self._policy.allow_addresses)
        except ForbiddenAddressError as error:
            return Fetched(None, "forbidden_address", str(error), tries=0)
        except (ValueError, TypeError) as error:
            return Fetched(None, "bad_url", type(error).__name__, tries=0)
        tries = [0]
        async with self._hosts.setdefault(parsed.host or "", asyncio.Semaphore(self._policy.per_host)):
            try:
                # Covers everything: redirects, retries and waits. A server that drips cannot hold a slot for longer.
                async with asyncio.timeout(self._policy.deadline_seconds):
                    return await self._with_retries(parsed, tries)
            except TimeoutError:
                return Fetched(None, "timeout", f"not done after {self._policy.deadline_seconds:g} s", tries=tries[0])

    async def _with_retries(self, url: URL, tries: list[int]) -> Fetched:
        async def once() -> tuple[bytes, URL]:
            tries[0] += 1
            return await self._follow(url)

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, _FailedError) and error.wait is not None),
            stop=stop_after_attempt(self._policy.attempts),
            wait=self._wait,
            reraise=True,
        )
        try:
            found: tuple[bytes, URL] = await retrying(once)
        except _FailedError as failed:
            return Fetched(None, failed.reason, failed.detail, tries=tries[0])
        data, final = found
        return Fetched(data, final_url=str(final) if final != url else None, tries=tries[0])

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until the next try: longer each time, and at least as long as the server asks for."""
        failed = state.outcome.exception() if state.outcome else None
        asked = failed.wait if isinstance(failed, _FailedError) else None
        backoff = self._policy.backoff_seconds * 2.0 ** (state.attempt_number - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        return max(asked or 0.0, backoff)

    async def _follow(self, url: URL) -> tuple[bytes, URL]:
        """Follows redirects itself: each hop is checked as the first was."""
        for _ in range(self._policy.max_redirects + 1):
            try:
                check_url(url, self._policy.allow_addresses)
            except ForbiddenAddressError as error:
                raise _FailedError("forbidden_address", str(error)) from error
            except ValueError as error:
                raise _FailedError("bad_redirect", "it leads to no http URL") from error
            if self._robots is not None and not await self._robots.may_fetch(url):
                raise _FailedError("robots_disallowed", "the host's robots.txt says no")
            found = await self._request(url)
            if isinstance(found, bytes):
                return found, url
            url = found
        raise _FailedError("too_many_redirects", f"more than {self._policy.max_redirects}")

    async def _request(self, url: URL) -> bytes | URL:
        """The body, or the URL that the server redirects to."""
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308):
                    return self._redirect(url, response)
                self._check_status(response)
                refused = opted_out(
                    response.headers.items(),
                    self._policy.opt_outs,
                    tdm=self._policy.tdm_reservation,
                    agent=self._policy.user_agent,
                )
                if refused:
                    raise _FailedError("opted_out", refused)
                kind = response.headers.get("Content-Type", "").lower()
                if kind.startswith(_NO_PICTURE):
                    raise _FailedError("wrong_type", f"the server says {kind.partition(';')[0][:40]!r}")
                return await self._body(response)
        except ForbiddenAddressError as error:
            raise _FailedError("forbidden_address", str(error)) from error
        except aiohttp.InvalidURL as error:  # such as a number for a host: an address in disguise
            raise _FailedError("bad_url", type(error).__name__) from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ForbiddenAddressError):
                raise _FailedError("forbidden_address", str(error.os_error)) from error
            if isinstance(error, aiohttp.ClientConnectorDNSError):
                raise _FailedError("dns_failure", "the host's name does not resolve", wait=0.0) from error
            if isinstance(error, aiohttp.ClientConnectorCertificateError):
                raise _FailedError("certificate_error", type(error.certificate_error).__name__) from error
            raise _FailedError("connection_error", type(error.os_error).__name__, wait=0.0) from error
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError) as error:
            raise _FailedError("connection_reset", type(error).__name__, wait=0.0) from error
        except (aiohttp.ServerTimeoutError, TimeoutError) as error:
            if isinstance(error, aiohttp.ServerTimeoutError):
                raise _FailedError("connection_error", "time-out while connecting", wait=0.0) from error
            raise  # the deadline itself
        except (aiohttp.ClientError, ssl.SSLError, ValueError, OSError) as error:
            raise _FailedError("bad_response", type(error).__name__) from error

    def _redirect(self, url: URL, response: aiohttp.ClientResponse) -> URL:
        target = response.headers.get("Location", "")
        try:
            return url.join(URL(target)).with_fragment(None)
        except ValueError as error:
            raise _FailedError("bad_redirect", "its Location is no URL") from error

    def _check_status(self, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if status == 200:
            return
        detail = f"HTTP {status}"
        if status in (429, 503):
            wait = _retry_after(response.headers.get("Retry-After", ""))
            reason = "rate_limited" if status == 429 else "server_error"
            too_long = wait > self._policy.retry_after_cap_seconds
            raise _FailedError(
                reason, f"{detail}, Retry-After {wait:g} s" if too_long else detail, None if too_long else wait
            )
        if status in (404, 410):
            raise _FailedError("gone", detail)
        if status in (401, 403, 451):
            raise _FailedError("refused", detail)
        if status >= 500 or status == 408:
            raise _FailedError("server_error", detail, wait=0.0)
        raise _FailedError("bad_status", detail)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._policy.max_bytes
        if (response.content_length or 0) > limit:
            raise _FailedError("too_many_bytes", f"Content-Length is more than {limit}")
        unpack = _unpacker(response.headers.get("Content-Encoding", ""))
        parts, size = [], 0
        async for chunk in response.content.iter_chunked(_CHUNK):
            part = unpack.decompress(chunk, limit - size + 1) if unpack else chunk
            size += len(part)
            if size > limit:
                # The limit also holds for what a small compressed body would unpack to.
                raise _FailedError("too_many_bytes", f"more than {limit}")
            parts.append(part)
        return b"".join(parts)

    async def _get_robots(self, url: URL) -> str | None:
        """A host's robots.txt, None if it has none; if it cannot be fetched, nothing is forbidden (RFC 9309, 2.3.1.3)."""
        with contextlib.suppress(_FailedError):
            for _ in range(self._policy.max_redirects + 1):
                check_url(url, self._policy.allow_addresses)
                async with self._session.get(url, allow_redirects=False) as response:
                    if response.status in (301, 302, 307, 308):
                        url = self._redirect(url, response)
                        continue
                    if response.status != 200:
                        return None
                    return (await response.content.read(500 * 1024)).decode("utf-8", "replace")
        return None


def _retry_after(value: str) -> float:
    """Seconds that a Retry-After asks for, given as a number or a date; 0 if it is neither."""
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _unpacker(encoding: str) -> zlib._Decompress | None:
    """Unpacks the body of a server that compresses although it was asked not to."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(32 + zlib.MAX_WBITS)
    raise _FailedError("bad_response", f"Content-Encoding {encoding[:20]!r}")
