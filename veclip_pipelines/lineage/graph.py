"""What a training set was made from and what was made from it, as a graph: from the crawl drops to the scores.

It is read from the pins and the provenance table: the edges are the versions of its inputs that each materialisation
recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from veclip_pipelines.errors import UsageError
from veclip_pipelines.lineage.questions import KNOWN_BY, Kind, Question, understand
from veclip_pipelines.stages import ALL, STAGES, version_of
from veclip_pipelines.tables.provenance import Provenance, materialisations
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

Row = dict[str, Any]
#: Asset, partition, engine, version.
_Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Subject:
    """A training set, and a checkpoint of it if that is the subject."""

    recipe: str
    set_version: str
    checkpoint_id: str | None = None

    @property
    def name(self) -> str:
        return self.checkpoint_id or f"{self.recipe}@{self.set_version}"


@dataclass(frozen=True)
class Graph:
    """The whole graph, upstream first.

    Attributes:
        made: materialisations. edges: (made from, made), as indexes of ``made``.
        drops: newest drop of each crawl partition, by key. engines: by engine_id.
        checkpoints, scores: of the training set.
    """

    subject: Subject
    made: Sequence[Provenance]
    edges: Sequence[tuple[int, int]]
    drops: Mapping[str, Row]
    engines: Mapping[str, Row]
    checkpoints: Sequence[Row]
    scores: Sequence[Row]


#: The columns that identify a subject, and the time of its row.
_SUBJECT_COLUMNS = {
    Kind.CHECKPOINT: ("recipe, set_version, checkpoint_id", "trained_at"),
    Kind.TRAINING_SET: ("recipe, set_version", "pinned_at"),
}


def find_subject(warehouse: Warehouse, what: str, *, files: bool = True) -> Subject:
    """A training set by RECIPE (its newest) or RECIPE@VERSION, a checkpoint by its id, folder, MLflow run or weights.

    Args:
        files: whether the name of a folder on this machine means the checkpoint in it.

    Raises:
        UsageError: it is neither.
    """
    question = understand(warehouse, what, files=files)
    if question.kind is not Kind.CHECKPOINT:
        # A crawl partition may have the same name as a recipe.
        question = Question(Kind.TRAINING_SET, what.strip())
    table, condition = KNOWN_BY[question.kind]
    columns, made_at = _SUBJECT_COLUMNS[question.kind]
    rows = read_rows(
        warehouse,
        f"SELECT {columns} FROM {table} WHERE {condition} ORDER BY {made_at} DESC LIMIT 1",  # noqa: S608
        {"v": question.value},
        tables=[table],
    )
    if not rows:
        raise UsageError(
            f"there is no training set and no checkpoint named {what!r}: veclip report RECIPE, or a checkpoint's id"
        )
    return Subject(**rows[0])


def lineage_graph(warehouse: Warehouse, subject: Subject) -> Graph:
    """The graph of a training set, or of one checkpoint and its set."""
    noted = _noted(warehouse)
    checkpoints = _checkpoints(warehouse, subject)
    ids = {str(row["checkpoint_id"]) for row in checkpoints}
    ends = _ends(noted.values(), subject, ids)
    chosen: dict[_Key, Provenance] = {}
    edges: set[tuple[_Key, _Key]] = set()
    waiting = list(ends)
    while waiting:
        one = waiting.pop()
        if _key(one) in chosen:
            continue
        chosen[_key(one)] = one
        read = [noted[key] for key in _tables_of(one) if key in noted]
        # A set and a checkpoint are named by ids of their own.
        read += [end for end in ends if _is_of(one, end)]
        edges.update((_key(other), _key(one)) for other in read)
        waiting += read
    order = list(STAGES)
    made = sorted(chosen.values(), key=lambda one: (order.index(one.asset), one.partition, one.engine))
    places = {_key(one): number for number, one in enumerate(made)}
    partitions = [one.partition for one in made if one.asset == "raw_crawl"]
    engines = [one.engine for one in made if one.engine]
    return Graph(
        subject,
        made,
        sorted((places[left], places[right]) for left, right in edges),
        {row["crawl_partition"]: row for row in _drops(warehouse, partitions)},
        {row["engine_id"]: row for row in _engines(warehouse, engines)},
        checkpoints,
        _scores(warehouse, sorted(ids)),
    )


def _key(one: Provenance) -> _Key:
    return one.asset, one.partition, one.engine, one.data_version


def _noted(warehouse: Warehouse) -> dict[_Key, Provenance]:
    """Each content that was ever materialised, by its key; of equal ones, the run that made it first."""
    found: dict[_Key, Provenance] = {}
    for one in reversed(materialisations(warehouse)):
        if one.asset in STAGES and not one.is_retirement:
            found.setdefault(_key(one), one)
    return found


def _ends(noted: Iterable[Provenance], subject: Subject, checkpoints: set[str]) -> list[Provenance]:
    """The subject's own materialisations: its set, its checkpoints, their scores; of each the newest."""
    found: dict[tuple[str, str], Provenance] = {}
    for one in noted:
        if one.partition == subject.recipe and one.asset == "training_sets":
            if version_of(one.inputs) == subject.set_version:
                found[one.asset, ""] = one
        elif one.partition == subject.recipe and one.inputs.get("checkpoint") in checkpoints:
            found[one.asset, one.inputs["checkpoint"]] = one
    return list(found.values())


def _is_of(one: Provenance, end: Provenance) -> bool:
    if one.asset == "checkpoints":
        return end.asset == "training_sets"
    same = one.inputs.get("checkpoint") == end.inputs.get("checkpoint")
    return one.asset == "benchmark_scores" and end.asset == "checkpoints" and same


def _tables_of(one: Provenance) -> Iterator[_Key]:
    """What a materialisation read of tables, as keys of the materialisations that wrote it."""
    for name, version in one.inputs.items():
        table, *rest = name.split("/")
        stage = STAGES.get(table)
        if stage is not None and stage.keyed_by is None:
            yield table, ALL, "", version
        elif stage is not None and rest:
            yield table, rest[0], rest[1] if len(rest) > 1 else "", version


def _checkpoints(warehouse: Warehouse, subject: Subject) -> list[Row]:
    return read_rows(
        warehouse,
        "SELECT * FROM checkpoints WHERE recipe = $recipe AND set_version = $version AND ($id IS NULL OR checkpoint_id = $id) "
        "ORDER BY trained_at",
        {"recipe": subject.recipe, "version": subject.set_version, "id": subject.checkpoint_id},
        tables=["checkpoints"],
    )


def _scores(warehouse: Warehouse, ids: Sequence[str]) -> list[Row]:
    return read_rows(
        warehouse,
        "SELECT * FROM benchmark_scores WHERE checkpoint_id IN (SELECT unnest($ids)) "
        "QUALIFY row_number() OVER (PARTITION BY checkpoint_id, benchmark, metric ORDER BY scored_at DESC) = 1 "
        "ORDER BY checkpoint_id, benchmark, metric",
        {"ids": list(ids)},
        tables=["benchmark_scores"],
    )


def _drops(warehouse: Warehouse, partitions: Sequence[str]) -> list[Row]:
    return read_rows(
        warehouse,
        "SELECT * FROM crawl_drops WHERE crawl_partition IN (SELECT unnest($keys)) "
        "QUALIFY row_number() OVER (PARTITION BY crawl_partition ORDER BY registered_at DESC) = 1 ORDER BY crawl_partition",
        {"keys": list(partitions)},
        tables=["crawl_drops"],
    )


def _engines(warehouse: Warehouse, ids: Sequence[str]) -> list[Row]:
    return read_rows(
        warehouse,
        "SELECT * FROM engines WHERE engine_id IN (SELECT unnest($ids)) ORDER BY profile",
        {"ids": sorted(set(ids))},
        tables=["engines"],
    )
