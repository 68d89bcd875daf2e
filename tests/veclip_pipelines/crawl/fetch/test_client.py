"""Fetching from a real server that misbehaves in every way: bounded, and with a reason code for each way."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from web import JPEG, Web, running_web

from veclip_pipelines.crawl.fetch.batch import fetch_all
from veclip_pipelines.crawl.fetch.client import Fetched
from veclip_pipelines.crawl.policy import FetchPolicy

LOCAL = ("127.0.0.1/32",)


@pytest.fixture(scope="module")
def shared_web() -> Iterator[Web]:
    with running_web() as web:
        yield web


@pytest.fixture
def web(shared_web: Web) -> Web:
    shared_web.robots, shared_web.broken, shared_web.most_open = None, False, 0
    shared_web.asked.clear()
    return shared_web


def fetch(web: Web, *paths: str, **policy: object) -> dict[str, Fetched]:
    settings = {
        "deadline_seconds": 4, "max_bytes": 2**20, "backoff_seconds": 0.05, "allow_addresses": LOCAL, **policy,
    }  # fmt: skip
    urls = [web.url + path if path.startswith("/") else path for path in paths]
    found = dict(fetch_all(urls, FetchPolicy.model_validate(settings)))
    assert len(found) == len(urls)
    return {path: found[url] for path, url in zip(paths, urls, strict=True)}


@pytest.mark.parametrize(
    ("path", "reason", "tries"),
    [
        ("/drip/a.jpg", "timeout", 1),
        ("/silent/a.jpg", "timeout", 1),
        ("/endless/a.jpg", "too_many_bytes", 1),
        ("/huge/a.jpg", "too_many_bytes", 1),
        ("/bomb/a.jpg", "too_many_bytes", 1),
        ("/loop/a.jpg", "too_many_redirects", 1),
        ("/inside/a.jpg", "forbidden_address", 1),
        ("/file/a.jpg", "bad_redirect", 1),
        ("/html/a.jpg", "wrong_type", 1),
        ("/missing/a.jpg", "gone", 1),
        ("/forbidden/a.jpg", "refused", 1),
        ("/busy-for-long/a.jpg", "rate_limited", 1),
        ("/error/a.jpg", "server_error", 3),
        ("/reset/a.jpg", "connection_reset", 3),
        ("/half/a.jpg", "connection_reset", 3),
        ("/garbage/a.jpg", "bad_response", 1),
        ("/noai/a.jpg", "opted_out", 1),
        ("/tdm/a.jpg", "opted_out", 1),
    ],
)
def test_each_misbehaviour_has_its_reason(web: Web, path: str, reason: str, tries: int) -> None:
    started = time.monotonic()
    found = fetch(web, path, deadline_seconds=2)[path]
    assert (found.data, found.reason, found.tries) == (None, reason, tries), found
    assert time.monotonic() - started < 6, "the deadline is hard"
    assert "not here" not in found.detail, "the server's own words are not kept"


@pytest.mark.parametrize(
    "path", ["/pictures/a.jpg", "/moved/a.jpg", "/gzip/a.jpg", "/busy-once/a.jpg", "/other-bot/a.jpg"]
)
def test_what_can_be_had_is_had(web: Web, path: str) -> None:
    found = fetch(web, path)[path]
    assert found.data == JPEG, found
    assert (found.final_url or "").endswith("/pictures/moved.jpg") == (path == "/moved/a.jpg")
    assert found.tries == (2 if path == "/busy-once/a.jpg" else 1)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/a", "http://localhost:9/a", "http://[::1]:9/a", "http://[::ffff:127.0.0.1]:9/a", "http://10.0.0.1/a",
        "http://192.168.1.1/a", "http://169.254.169.254/a", "http://0.0.0.0:9/a", "http://2130706433:9/a", "http://0x7f.1:9/a",
        "http://127.1:9/a", "http://[64:ff9b::7f00:1]/a", "http://[fe80::1%25eth0]/a", "http://224.0.0.1/a", "http://100.64.0.1/a",
    ],
)  # fmt: skip
def test_private_addresses_are_never_reached(web: Web, url: str) -> None:
    found = fetch(web, url, allow_addresses=())[url]
    assert found.data is None
    assert found.reason in ("forbidden_address", "bad_url"), found


def test_the_server_itself_is_forbidden_unless_configuration_lifts_it(web: Web) -> None:
    assert fetch(web, "/pictures/a.jpg", allow_addresses=())["/pictures/a.jpg"].reason == "forbidden_address"
    assert web.asked == {}


@pytest.mark.parametrize(
    "url", ["", "nothing", "ftp://x.example/a", "http://", "http://[broken/a", "javascript:alert(1)"]
)
def test_what_is_no_http_url(web: Web, url: str) -> None:
    assert fetch(web, url)[url].reason == "bad_url"


def test_robots_txt_is_asked_once_a_host_and_followed(web: Web) -> None:
    web.robots = "User-agent: veclip-pipelines\nDisallow: /pictures/private/\n\nUser-agent: *\nDisallow: /\n"
    found = fetch(web, "/pictures/private/a.jpg", "/pictures/b.jpg", "/pictures/c.jpg", concurrency=3)
    assert [item.reason for item in found.values()] == ["robots_disallowed", "", ""]
    assert web.asked["/robots.txt"] == 1
    assert web.asked["/pictures/private/a.jpg"] == 0
    assert fetch(web, "/pictures/private/a.jpg", robots_txt=False)["/pictures/private/a.jpg"].data == JPEG


def test_requests_to_one_host_are_limited() -> None:
    paths = [f"/pictures/{number}.jpg" for number in range(60)]
    with running_web() as web:  # of its own: the silent ones of other tests are open still
        found = fetch(web, *paths, concurrency=30, per_host=4, robots_txt=False)
    assert all(item.data == JPEG for item in found.values())
    assert 2 <= web.most_open <= 4


def test_a_drip_does_not_hold_up_the_others(web: Web) -> None:
    paths = ["/drip/a.jpg", *[f"/pictures/{number}.jpg" for number in range(40)]]
    arrived = list(
        fetch_all(
            [web.url + path for path in paths],
            FetchPolicy(concurrency=4, deadline_seconds=2, allow_addresses=LOCAL, robots_txt=False),
        )
    )
    assert arrived[-1][1].reason == "timeout"
    assert sum(item.data == JPEG for _, item in arrived) == 40


def test_a_consumer_that_stops_early_stops_the_fetching(web: Web) -> None:
    urls = [f"{web.url}/pictures/{number}.jpg" for number in range(400)]
    results = fetch_all(urls, FetchPolicy(concurrency=4, allow_addresses=LOCAL, robots_txt=False))
    next(results)
    results.close()
    time.sleep(0.3)  # what was sent arrives
    asked = sum(web.asked.values())
    time.sleep(0.3)
    assert sum(web.asked.values()) == asked < 100
