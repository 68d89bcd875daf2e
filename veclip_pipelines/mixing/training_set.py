"""A training set: the samples of a recipe with their texts and probabilities, pinned to the versions of its inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.recipe import Recipe
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.data_files import find_file, table_of, write_file
from veclip_pipelines.tables.query import connect, content_version
from veclip_pipelines.tables.schemas import CONCEPT_CAPTIONS, KEPT, RAW_CRAWL, REJECTED, TRAINING_SETS, VECAP
from veclip_pipelines.tables.warehouse import Warehouse

CODE_VERSION = "training_sets.1"


@dataclass(frozen=True)
class ResolvedText:
    """A recipe's text with the engine_id behind its profile's name; None for AltText."""

    source: str
    probability: float
    engine_id: str | None
    profile: str | None


@dataclass(frozen=True)
class TrainingSet:
    """What was made: its version, its rows and the commit that holds them."""

    recipe: str
    set_version: str
    rows: int
    kept: int
    delta_version: int
    changed: bool


def crawl_partitions_of(warehouse: Warehouse, recipe: Recipe) -> list[str]:
    """The crawl partitions that a recipe takes now.

    Raises:
        VeclipError: it names one that is not materialised, or there is none at all.
    """
    with connect(warehouse, ["raw_crawl"]) as connection:
        present = [
            row[0] for row in connection.execute("SELECT DISTINCT crawl_partition FROM raw_crawl ORDER BY 1").fetchall()
        ]
    if not present:
        raise VeclipError(
            f"recipe {recipe.name!r}: no crawl partition is materialised yet. Materialise raw_crawl first."
        )
    if recipe.crawl_partitions == "all":
        return present
    if missing := set(recipe.crawl_partitions) - set(present):
        raise VeclipError(
            f"recipe {recipe.name!r} takes crawl partitions that are not materialised: {', '.join(sorted(missing))}"
        )
    return sorted(recipe.crawl_partitions)


def input_versions(
    warehouse: Warehouse, recipe: Recipe, recipe_hash: str, texts: Sequence[ResolvedText]
) -> dict[str, str]:
    """The version of everything that a training set is made from: its own version is the hash of this."""
    versions = {"recipe": recipe_hash, "code": CODE_VERSION}
    for key in crawl_partitions_of(warehouse, recipe):
        versions[f"raw_crawl/{key}"] = content_version(warehouse, RAW_CRAWL, {"crawl_partition": key})[0]
        for text in texts:
            if text.engine_id is None:
                continue
            spec = VECAP if text.source == "vecap" else CONCEPT_CAPTIONS
            partition = {"crawl_partition": key, "engine_id": text.engine_id}
            version, rows = content_version(warehouse, spec, partition)
            if rows == 0:
                raise VeclipError(
                    f"recipe {recipe.name!r}: crawl partition {key!r} has no {spec.name} by engine profile {text.profile!r} "
                    f"as it is now. Materialise {spec.name} for it with that profile first."
                )
            versions[f"{spec.name}/{key}/{text.engine_id}"] = version
    return versions


def set_version_of(inputs: Mapping[str, str]) -> str:
    """Hash over the recipe and the versions of all inputs."""
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()[:16]


def make_training_set(
    warehouse: Warehouse,
    recipe: Recipe,
    texts: Sequence[ResolvedText],
    inputs: Mapping[str, str],
    *,
    properties: Mapping[str, str],
) -> TrainingSet:
    """Writes a recipe's set under its version. The same inputs give the same rows, byte for byte.

    A sample that lacks one of the texts draws from the others, at probabilities that again sum to 1; one that has none
    of them is a reject, with reason ``no_text``.
    """
    set_version = set_version_of(inputs)
    partition = {"recipe": recipe.name, "set_version": set_version}
    table = warehouse.open(TRAINING_SETS)
    expected = partition_files(table, partition)
    name = f"set-{set_version}"
    file = find_file(warehouse, TRAINING_SETS, partition, name)
    if file is None:
        rows = [_row(candidate, texts) for candidate in _candidates(warehouse, inputs, texts)]
        file = write_file(warehouse, TRAINING_SETS, partition, name, table_of(TRAINING_SETS, rows))
    commit = replace_partition(warehouse, TRAINING_SETS, partition, [file], expected=expected, properties=properties)
    with connect(warehouse, ["training_sets"]) as connection:
        counted = connection.execute(
            f"SELECT count(*), count(*) FILTER (outcome = '{KEPT}') FROM training_sets WHERE recipe = ? AND set_version = ?",  # noqa: S608
            [recipe.name, set_version],
        ).fetchone()
    assert counted is not None
    return TrainingSet(recipe.name, set_version, counted[0], counted[1], commit.version, commit.written)


def _candidates(
    warehouse: Warehouse, inputs: Mapping[str, str], texts: Sequence[ResolvedText]
) -> list[tuple[str, str, str, list[str | None]]]:
    """Every kept sample once, by sample_id: with its picture, its partition and its text from each source."""
    partitions = sorted(name.partition("/")[2] for name in inputs if name.startswith("raw_crawl/"))
    columns, joins, parameters = [], [], []
    for index, text in enumerate(texts):
        if text.engine_id is None:
            columns.append("r.alt_text")
            continue
        table, key = ("vecap", "sample_id") if text.source == "vecap" else ("concept_captions", "image_sha256")
        columns.append(f"t{index}.text")
        joins.append(
            f"LEFT JOIN {table} t{index} ON t{index}.{key} = r.{key} AND t{index}.crawl_partition = r.crawl_partition "
            f"AND t{index}.engine_id = ? AND t{index}.outcome = '{KEPT}'"
        )
        parameters.append(text.engine_id)
    marks = ", ".join("?" * len(partitions))
    sql = (
        f"SELECT r.sample_id, r.image_sha256, r.crawl_partition, [{', '.join(columns)}] FROM raw_crawl r {' '.join(joins)} "  # noqa: S608
        f"WHERE r.outcome = '{KEPT}' AND r.crawl_partition IN ({marks}) "
        "QUALIFY row_number() OVER (PARTITION BY r.sample_id ORDER BY r.crawl_partition) = 1 ORDER BY r.sample_id"
    )
    with connect(warehouse, ["raw_crawl", "concept_captions", "vecap"]) as connection:
        return connection.execute(sql, [*parameters, *partitions]).fetchall()  # type: ignore[no-any-return]


def _row(candidate: tuple[str, str, str, list[str | None]], texts: Sequence[ResolvedText]) -> dict[str, object]:
    sample_id, image_sha256, crawl_partition, found = candidate
    present = [(text, words) for text, words in zip(texts, found, strict=True) if words]
    total = sum(text.probability for text, _ in present)
    return {
        "sample_id": sample_id,
        "image_sha256": image_sha256,
        "crawl_partition": crawl_partition,
        "texts": [{"source": text.source, "engine_id": text.engine_id, "text": words} for text, words in present],
        "probabilities": [text.probability / total for text, _ in present],
        "outcome": KEPT if present else REJECTED,
        "reason": None if present else "no_text",
        "detail": None if present else "the sample has none of the recipe's texts",
    }
