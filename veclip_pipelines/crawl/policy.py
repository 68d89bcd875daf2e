"""How a crawl is ingested: ``VECLIP_HOME/crawl.yaml``, in which everything has a default."""

from __future__ import annotations

import ipaddress

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.errors import UsageError

#: X-Robots-Tag and meta robots directives that forbid what this platform does with a picture.
OPT_OUTS = ("noai", "noimageai", "noindex", "noimageindex", "noml", "none")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FetchPolicy(_Section):
    """How pictures are fetched.

    Attributes:
        concurrency: requests in flight on one Dask worker.
        per_host: of those, to one host.
        deadline_seconds: hard limit for one picture, redirects and retries included.
        connect_seconds: limit for one connection.
        max_bytes: a larger body is cut off and rejected.
        attempts: number of tries if another try can help (time-out, reset, 429, 5xx).
        retry_after_cap_seconds: a longer Retry-After than this is not waited for.
        max_redirects: hops followed, each checked like the first.
        user_agent: what we call ourselves; robots directives for this name, and for all, are followed.
        robots_txt: whether to fetch each host's robots.txt (once) and follow it.
        opt_outs: directives that are honoured, and whether TDM-Reservation is.
        allow_addresses: networks that may be reached even though they are not public (a test's own server).
    """

    concurrency: int = Field(default=128, ge=1, le=4096)
    per_host: int = Field(default=16, ge=1)
    deadline_seconds: float = Field(default=60.0, gt=0)
    connect_seconds: float = Field(default=10.0, gt=0)
    max_bytes: int = Field(default=32 * 2**20, ge=1024)
    attempts: int = Field(default=3, ge=1, le=10)
    backoff_seconds: float = Field(default=0.5, ge=0)
    retry_after_cap_seconds: float = Field(default=20.0, ge=0)
    max_redirects: int = Field(default=5, ge=0, le=20)
    user_agent: str = "veclip-pipelines"
    robots_txt: bool = True
    opt_outs: tuple[str, ...] = OPT_OUTS
    tdm_reservation: bool = True
    allow_addresses: tuple[str, ...] = ()

    @field_validator("allow_addresses")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            ipaddress.ip_network(value)
        return values


class LandingPlace(_Section):
    """A folder or fsspec URL whose subfolders are crawl drops, registered and indexed automatically.

    Attributes:
        done_marker: a file that marks a drop as complete. A drop without one is complete when img2dataset's stats
            are there for all of its shards.
        quiet_seconds: a drop is ingested only when nothing in it has changed for this long.
    """

    uri: str
    done_marker: str = "_SUCCESS"
    quiet_seconds: float = Field(default=300.0, ge=0)


class CrawlPolicy(_Section):
    """All of crawl.yaml.

    Attributes:
        minimum_success_share: a partition that keeps a smaller share of its entries fails, with the causes counted.
        entries_per_shard: entries that are fetched or packed into one tar.
        nsfw: score each picture with Yahoo's open NSFW model (extra ``nsfw``).
        not_ours: folders or URLs of shards and drops that a takedown must not change; it says so instead. It never changes what
            is read over HTTP.
        opt_outs_are_takedowns: an opt-out that is found when a picture is fetched again takes down what earlier crawls have of it.
        near_duplicate_distance: pictures whose perceptual hashes differ in at most this many of their 64 bits are near duplicates.
    """

    minimum_success_share: float = Field(default=0.1, ge=0.0, le=1.0)
    entries_per_shard: int = Field(default=10_000, ge=1, le=1_000_000)
    nsfw: bool = False
    near_duplicate_distance: int = Field(default=3, ge=0, le=7)
    not_ours: tuple[str, ...] = ()
    opt_outs_are_takedowns: bool = True
    fetch: FetchPolicy = FetchPolicy()
    landing: tuple[LandingPlace, ...] = ()

    def may_change(self, uri: str) -> bool:
        """Whether a takedown may overwrite a file."""
        if uri.startswith(("http://", "https://")):
            return False
        return not any(uri == place or uri.startswith(f"{place.rstrip('/')}/") for place in self.not_ours)


def crawl_policy(settings: Settings) -> CrawlPolicy:
    """The user's crawl.yaml, or the defaults.

    Raises:
        UsageError: the file does not fit the schema; the message names each fault.
    """
    path = settings.crawl_file
    if not path.is_file():
        return CrawlPolicy()
    try:
        return CrawlPolicy.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise UsageError(f"{path}: {faults}") from error
