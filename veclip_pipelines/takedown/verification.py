"""Whether what was taken down is gone: every file that this installation keeps is decoded and searched."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import list_drops
from veclip_pipelines.crawl.policy import crawl_policy
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.media.storage import files_under, is_url
from veclip_pipelines.mlflow_tracking import Tracking
from veclip_pipelines.stages import STAGES
from veclip_pipelines.tables.query import Asker, connect, read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.content_search import Hit, Searched
from veclip_pipelines.takedown.requests import NEAR
from veclip_pipelines.takedown.table_rewrites import CONTENT
from veclip_pipelines.takedown.text_fingerprints import Wanted
from veclip_pipelines.takedown.tracking_search import search_server


@dataclass(frozen=True)
class Remnant:
    """Something that is still there.

    Attributes:
        state: found; held: until the time that was stated for it; not_ours: it cannot be changed from here.
        kind, what, where: as :class:`Hit` has them.
    """

    uri: str
    state: str
    kind: str
    what: str
    where: str
    until: datetime | None = None


@dataclass(frozen=True)
class Verified:
    """The outcome of a search.

    Attributes:
        places: files, databases and servers that were looked into.
        remnants: what is still there; the first of each kind in each file.
        shared: texts that were found but that rows which may stay have word for word: they prove nothing.
        unreadable: places that could not be looked into, with why.
    """

    places: int
    pictures: int
    texts: int
    remnants: tuple[Remnant, ...]
    shared: int
    unreadable: Mapping[str, str]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left but what is not ours, and everything could be read."""
        return not self.unreadable and all(one.state == "not_ours" for one in self.remnants)


def verify(
    warehouse: Warehouse, settings: Settings, takedown_id: str | None = None, *, databases: Sequence[str] = ()
) -> Verified:
    """Searches for what one takedown, or all, took out: in the warehouse, the shards, DAGSTER_HOME, MLflow's store, checkpoints,
    exports, reports and the drops themselves. Models are not looked into.

    Args:
        databases: further databases as SQLAlchemy URLs: Dagster's own, unless it is a file in DAGSTER_HOME.
    """
    marks = _marks(warehouse, takedown_id)
    searched = _searched(marks)
    held = _held(warehouse)
    hits: list[tuple[_Place, str, Hit]] = []
    unreadable: dict[str, str] = {}
    looked = 0
    for place in _places(warehouse, settings, searched, databases):
        looked += 1
        try:
            for uri, hit in place.look():
                hits.append((place, uri, hit))
        except FileNotFoundError:
            continue  # it disappeared during the search: a run is at work
        except (OSError, EOFError, pa.ArrowException, ValueError, sqlite3.Error, zlib.error, VeclipError) as error:
            unreadable[place.uri] = str(error).splitlines()[0]
    shared = _shared_texts(warehouse, {hit.what for _, _, hit in hits if hit.kind == "text"})
    allowed = _allowed_looks(warehouse, [hit for _, _, hit in hits if hit.kind == "looks"], searched)
    remnants: dict[tuple[str, str, str], Remnant] = {}
    for place, uri, hit in hits:
        if (hit.kind == "text" and hit.what in shared) or (hit.kind == "looks" and hit in allowed):
            continue
        until = held.get(uri.removeprefix(f"{warehouse.root}/"))
        state = "held" if until is not None else "found" if place.is_ours else "not_ours"
        remnants.setdefault((uri, hit.kind, hit.what), Remnant(uri, state, hit.kind, hit.what, hit.where, until))
    texts = {text for row in marks for text in row["texts"]}
    return Verified(looked, len(searched.pictures), len(texts), tuple(remnants.values()), len(shared), unreadable)


@dataclass(frozen=True)
class _Place:
    """A file, a database or a server.

    Attributes:
        look: returns its hits, each with its place.
        is_ours: whether we may change it.
    """

    uri: str
    look: Callable[[], Iterable[tuple[str, Hit]]]
    is_ours: bool = True


def _places(warehouse: Warehouse, settings: Settings, searched: Searched, databases: Sequence[str]) -> Iterator[_Place]:
    tables = {f"{warehouse.root}/{spec.name}/": spec.name for spec in CONTENT}
    may_change, not_ours = crawl_policy(settings).may_change, _not_ours(warehouse)
    for uri in _files(warehouse, settings):
        table = next((name for root, name in tables.items() if uri.startswith(root) and "/_delta_log/" not in uri), "")
        ours = may_change(uri) and uri not in not_ours and not uri.startswith(f"{settings.benchmarks}/")
        yield _Place(uri, partial(_look, uri, partial(searched.file, uri, rows_of=table)), ours)
    tracking = Tracking(settings.mlflow_tracking_uri, None)
    if tracking.is_server:
        yield _Place(tracking.tracking_uri, lambda: search_server(tracking.client(), searched))
    for url in [*databases, *([tracking.tracking_uri] if tracking.is_database else [])]:
        import sqlalchemy

        shown = sqlalchemy.make_url(url).render_as_string(hide_password=True)
        yield _Place(shown, partial(_look, shown, partial(searched.database, url)))


def _look(uri: str, look: Callable[[], Iterator[Hit]]) -> Iterator[tuple[str, Hit]]:
    return ((uri, hit) for hit in look())


def _files(warehouse: Warehouse, settings: Settings) -> Iterator[str]:
    """All files that are looked into, each once."""
    roots = [warehouse.root, settings.shards, str(settings.home), str(settings.dagster_home), str(settings.checkpoints)]
    if settings.mlflow_tracking_uri.startswith("sqlite:///"):
        roots.append(str(Path(settings.mlflow_tracking_uri.removeprefix("sqlite:///")).parent))
    roots += [row["uri"] for row in read_rows(warehouse, "SELECT DISTINCT uri FROM exports", tables=["exports"])]
    roots += [drop.uri for drop in list_drops(warehouse, retired=True)]
    seen: set[str] = set()
    for root in roots:
        for file in files_under(root):
            uri = file.uri if is_url(root) else str(Path(file.uri).resolve())
            if uri not in seen and not uri.startswith(f"{settings.models.resolve()}/"):
                seen.add(uri)
                yield uri


def _marks(warehouse: Warehouse, takedown_id: str | None) -> list[dict[str, Any]]:
    return read_rows(
        warehouse,
        "SELECT * FROM tombstones WHERE $id IS NULL OR takedown_id = $id",
        {"id": takedown_id},
        tables=["tombstones"],
    )


def _searched(marks: Sequence[Mapping[str, Any]]) -> Searched:
    return Searched(
        pictures=frozenset(row["image_sha256"] for row in marks if row["image_sha256"]),
        looks={int(row["phash"], 16): NEAR for row in marks if row["phash"]},
        texts=Wanted({text for row in marks for text in row["texts"]}),
        ids={
            "sample_id": frozenset(row["sample_id"] for row in marks),
            "image_sha256": frozenset(row["image_sha256"] for row in marks if row["image_sha256"]),
        },
    )


def _held(warehouse: Warehouse) -> dict[str, datetime]:
    """Until when earlier contents are kept, by table and path."""
    rows = read_rows(warehouse, "SELECT place, until FROM erasures WHERE state = 'held'", tables=["erasures"])
    return {row["place"]: row["until"] for row in rows}


def _not_ours(warehouse: Warehouse) -> set[str]:
    """Files that a takedown found that it cannot change."""
    rows = read_rows(warehouse, "SELECT DISTINCT place FROM erasures WHERE state = 'not_ours'", tables=["erasures"])
    return {row["place"] for row in rows}


def _shared_texts(warehouse: Warehouse, found: set[str]) -> set[str]:
    """Those of the texts that occur in a row which may stay."""
    if not found:
        return set()
    wanted, shared = Wanted(found), set()
    stages = [stage for stage in STAGES.values() if stage.texts]
    with connect(warehouse, [stage.name for stage in stages]) as connection:
        for stage in stages:
            sql = f"SELECT DISTINCT t FROM (SELECT unnest({stage.texts}) AS t FROM {stage.name}) WHERE t IS NOT NULL"  # noqa: S608
            for batch in connection.sql(sql).to_arrow_reader(10_000):
                for text in batch.column(0).to_pylist():
                    shared |= wanted.of_value(text)
    return shared


def _allowed_looks(warehouse: Warehouse, found: Sequence[Hit], searched: Searched) -> set[Hit]:
    """Those of the pictures that resemble one that may stay at least as much as one that was taken down."""
    if not found:
        return set()
    allowed = set()
    with connect(warehouse, ["raw_crawl"]) as connection:
        for hit in found:
            nearest = min((int(hit.what, 16) ^ other).bit_count() for other in searched.looks)
            rows = Asker(connection)(
                "SELECT 1 FROM raw_crawl WHERE (image_sha256 = $sha AND outcome = 'kept') OR (phash IS NOT NULL AND "
                "bit_count(xor(('0x' || phash)::UBIGINT, ('0x' || $looks)::UBIGINT)) <= $nearest) LIMIT 1",
                {"sha": hit.sha256, "looks": hit.what, "nearest": nearest},
            )
            if rows:
                allowed.add(hit)
    return allowed
