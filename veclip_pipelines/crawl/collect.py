"""The pictures of a list of entries: fetched by URL or read from the drop's folder, in the order in which they arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, zip_longest
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from msgspec.structs import replace

from veclip_pipelines.crawl.formats.base import Entry
from veclip_pipelines.crawl.policy import FetchPolicy
from veclip_pipelines.media.storage import is_url, read_bytes, size_of

#: Limit for a loose picture's file: a larger one is rejected, like a response body that is too large.
_MAX_BYTES = 256 * 2**20


def with_pictures(entries: Iterable[Entry], drop_uri: str, policy: FetchPolicy) -> Iterator[Entry]:
    """Each entry with its picture or a fault: first those that have a fault already, then loose files, then URLs as they arrive.

    A URL that several entries name is fetched once.
    """
    by_url: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.fault is not None:
            yield entry
        elif entry.picture_path is not None:
            yield _loose(entry, drop_uri)
        else:
            by_url.setdefault(entry.url or "", []).append(entry)
    if not by_url:
        return
    # Imported here because it brings in aiohttp, which no other command should have to wait for.
    from veclip_pipelines.crawl.fetch.batch import fetch_all

    for url, fetched in fetch_all(_by_turns(list(by_url)), policy):
        for entry in by_url.pop(url):
            if fetched.data is None:
                detail = f"{fetched.detail} ({fetched.tries} tries)" if fetched.tries > 1 else fetched.detail
                yield replace(entry, fault=(fetched.reason, detail))
            else:
                yield replace(entry, image=fetched.data, final_url=fetched.final_url)


def _by_turns(urls: list[str]) -> list[str]:
    """URLs with the hosts interleaved, so that one host's limit does not hold up URLs of other hosts."""
    hosts: dict[str, list[str]] = {}
    for url in urls:
        hosts.setdefault(_host(url), []).append(url)
    return [url for url in chain.from_iterable(zip_longest(*hosts.values())) if url is not None]


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def _loose(entry: Entry, drop_uri: str) -> Entry:
    """A picture in the drop's own folder. A name in a stranger's table is never followed out of that folder."""
    path = PurePosixPath((entry.picture_path or "").replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return replace(entry, fault=("outside_folder", "the table names a file outside of the drop's folder"))
    uri = f"{drop_uri.rstrip('/')}/{path}"
    try:
        if not is_url(drop_uri) and not _is_inside(uri, drop_uri):
            return replace(entry, fault=("outside_folder", "a link leads out of the drop's folder"))
        if size_of(uri) > _MAX_BYTES:
            return replace(entry, fault=("too_many_bytes", f"more than {_MAX_BYTES}"))
        return replace(entry, image=read_bytes(uri))
    except FileNotFoundError:
        return replace(entry, fault=("missing_picture", "the drop has no file of that name"))
    except OSError as error:
        return replace(entry, fault=("unreadable_picture", type(error).__name__))


def _is_inside(path: str, folder: str) -> bool:
    return Path(path).resolve().is_relative_to(Path(folder).resolve())
