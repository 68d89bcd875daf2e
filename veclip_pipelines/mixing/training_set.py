"""A training set: the samples of a recipe with their texts and probabilities, pinned to the versions of its inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from veclip_pipelines.config.recipe import Condition, Filters, Part, Recipe, TextSourceName
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.media.uids import uids_version
from veclip_pipelines.mixing.selection import select_rows
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, DUPLICATES, RAW_CRAWL, VECAP
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.schemas.training_schemas import TRAINING_SETS
from veclip_pipelines.tables.commit import partition_files, replace_partition
from veclip_pipelines.tables.contents import Contents
from veclip_pipelines.tables.data_files import DataFile, find_file, write_file
from veclip_pipelines.tables.pins import SetPins, TablePin, connect_pinned, pin_table, read_pins, write_pins
from veclip_pipelines.tables.query import connect, content_version
from veclip_pipelines.tables.warehouse import Warehouse

CODE_VERSION = "training_sets.2"
_ROWS = 50_000


class ResolvedText(BaseModel):
    """A recipe's text with the engine_id behind its profile's name; None for AltText and captions of the drop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: TextSourceName
    probability: float
    engine_id: str | None = None
    profile: str | None = None
    column: str | None = None
    when: Condition | None = None
    shuffled: bool = False


class ResolvedPart(BaseModel):
    """A recipe's part as it is carried out: crawl partitions by name, engines by id.

    Attributes:
        uids: file of the list, absolute.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    crawl_partitions: tuple[str, ...]
    texts: tuple[ResolvedText, ...]
    filters: Filters
    uids: str | None
    weight: float


@dataclass(frozen=True)
class Mix:
    """All parts of a recipe, resolved; the first that takes a sample has it."""

    recipe: str
    parts: tuple[ResolvedPart, ...]

    def as_json(self) -> str:
        return json.dumps([part.model_dump(mode="json") for part in self.parts], sort_keys=True)

    @classmethod
    def from_json(cls, recipe: str, text: str) -> Mix:
        return cls(recipe, tuple(ResolvedPart.model_validate(part) for part in json.loads(text)))

    def engines(self, source: TextSourceName) -> dict[str, str]:
        """Profile of each engine_id that a text of some source is made by."""
        found = (text for part in self.parts for text in part.texts if text.source == source and text.engine_id)
        return {str(text.engine_id): str(text.profile) for text in found}


@dataclass(frozen=True)
class TrainingSet:
    """What was made: its version, its rows and the commit that holds them."""

    recipe: str
    set_version: str
    rows: int
    kept: int
    delta_version: int
    changed: bool


def resolve_mix(
    warehouse: Warehouse, recipe: Recipe, texts: Mapping[str, Sequence[ResolvedText]], home: Path | None = None
) -> Mix:
    """A recipe with the crawl partitions that are there now.

    Args:
        texts: of each part, by name.
        home: where a relative path of a list of uids begins.

    Raises:
        VeclipError: a part names a partition that is not materialised, or there is none at all.
    """
    with connect(warehouse, ["raw_crawl"]) as connection:
        present = [
            row[0] for row in connection.execute("SELECT DISTINCT crawl_partition FROM raw_crawl ORDER BY 1").fetchall()
        ]
    if not present:
        raise VeclipError(
            f"recipe {recipe.name!r}: no crawl partition is materialised yet. Materialise raw_crawl first."
        )
    parts = recipe.parts()
    named = {key for part in parts.values() if part.crawl_partitions != "all" for key in part.crawl_partitions}
    if missing := named - set(present):
        raise VeclipError(
            f"recipe {recipe.name!r} takes crawl partitions that are not materialised: {', '.join(sorted(missing))}"
        )
    elsewhere = {key for dataset in recipe.datasets for key in dataset.crawl_partitions}
    return Mix(
        recipe.name,
        tuple(
            ResolvedPart(
                name=name,
                crawl_partitions=_partitions(part, present, elsewhere),
                texts=tuple(texts[name]),
                filters=part.filters,
                uids=str((home or Path()) / part.uids) if part.uids else None,
                weight=part.weight,
            )
            for name, part in parts.items()
        ),
    )


def _partitions(part: Part, present: Sequence[str], elsewhere: set[str]) -> tuple[str, ...]:
    if part.crawl_partitions == "all":
        return tuple(key for key in present if key not in elsewhere)
    return tuple(sorted(part.crawl_partitions))


def input_versions(warehouse: Warehouse, mix: Mix, contents: Contents | None = None) -> dict[str, str]:
    """The version of everything that a training set is made from: its own version is the hash of this.

    Args:
        contents: of all its crawl partitions, where they were read for others already.

    Raises:
        VeclipError: a text is not there for a crawl partition, or near duplicates were not looked for.
    """
    versions = {"mix": hashlib.sha256(mix.as_json().encode()).hexdigest(), "code": CODE_VERSION}
    contents = contents or Contents.of_partitions(
        warehouse, (key for part in mix.parts for key in part.crawl_partitions)
    )
    for part in mix.parts:
        for key in part.crawl_partitions:
            versions[f"raw_crawl/{key}"] = contents.of(RAW_CRAWL, {"crawl_partition": key})[0]
            for text in part.texts:
                if text.engine_id is not None:
                    versions |= _caption_version(contents, mix.recipe, key, text)
        if part.uids:
            versions[f"uids/{part.name}"] = uids_version(Path(part.uids))
        if part.filters.near_duplicates == "one":
            if warehouse.open(DUPLICATES) is None:
                raise VeclipError(
                    f"recipe {mix.recipe!r} keeps one of near duplicates, and they were not looked for yet: materialise duplicates first."
                )
            versions["duplicates"] = content_version(warehouse, DUPLICATES, {})[0]
    return versions


def _caption_version(contents: Contents, recipe: str, key: str, text: ResolvedText) -> dict[str, str]:
    spec = VECAP if text.source == "vecap" else CONCEPT_CAPTIONS
    version, rows = contents.of(spec, {"crawl_partition": key, "engine_id": text.engine_id or ""})
    if rows == 0:
        raise VeclipError(
            f"recipe {recipe!r}: crawl partition {key!r} has no {spec.name} by engine profile {text.profile!r} "
            f"as it is now. Materialise {spec.name} for it with that profile first."
        )
    return {f"{spec.name}/{key}/{text.engine_id}": version}


def set_version_of(inputs: Mapping[str, str]) -> str:
    """Hash over the recipe and the versions of all inputs."""
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()[:16]


def pins_of(warehouse: Warehouse, mix: Mix) -> dict[str, TablePin]:
    """The data files that hold a mix's inputs now."""
    partitions = {key for part in mix.parts for key in part.crawl_partitions}

    def captions(engines: Mapping[str, str]) -> list[dict[str, str]]:
        return [{"crawl_partition": key, "engine_id": engine} for key in partitions for engine in engines]

    return {
        "raw_crawl": pin_table(warehouse, RAW_CRAWL, [{"crawl_partition": key} for key in partitions]),
        "concept_captions": pin_table(warehouse, CONCEPT_CAPTIONS, captions(mix.engines("concept_caption"))),
        "vecap": pin_table(warehouse, VECAP, captions(mix.engines("vecap"))),
        "duplicates": pin_table(
            warehouse, DUPLICATES, [{}] if any(part.filters.near_duplicates == "one" for part in mix.parts) else []
        ),
    }


def make_training_set(
    warehouse: Warehouse, mix: Mix, inputs: Mapping[str, str], *, properties: Mapping[str, str]
) -> TrainingSet:
    """Writes a recipe's set under its version. The same inputs give the same rows, byte for byte.

    A sample that lacks one of the texts draws from the others, at probabilities that again sum to 1; one that has none
    of them is a reject, with reason ``no_text``; one that a filter leaves out has the filter's reason.
    """
    set_version = set_version_of(inputs)
    partition = {"recipe": mix.recipe, "set_version": set_version}
    expected = partition_files(warehouse.open(TRAINING_SETS), partition)
    name = f"set-{set_version}"
    tables = pins_of(warehouse, mix)
    file = find_file(warehouse, TRAINING_SETS, partition, name)
    if file is None:
        with connect_pinned(warehouse, tables) as connection:
            rows = select_rows(connection, mix.parts).to_arrow_reader(_ROWS).cast(TRAINING_SETS.file_schema)
            file = write_file(warehouse, TRAINING_SETS, partition, name, rows)
    commit = replace_partition(warehouse, TRAINING_SETS, partition, [file], expected=expected, properties=properties)
    content, count = content_version(warehouse, TRAINING_SETS, partition)
    pins = SetPins(mix.recipe, set_version, mix.as_json(), dict(inputs), tables, content)
    write_pins(warehouse, pins, properties=properties)
    with connect(warehouse, ["training_sets"]) as connection:
        kept = connection.execute(
            f"SELECT count(*) FROM training_sets WHERE recipe = ? AND set_version = ? AND outcome = '{KEPT}'",  # noqa: S608
            [mix.recipe, set_version],
        ).fetchone()
    assert kept is not None
    return TrainingSet(mix.recipe, set_version, count, kept[0], commit.version, commit.written)


def rebuild(warehouse: Warehouse, recipe: str, set_version: str, path: Path) -> str:
    """Makes a set again from the files that it pins, into a Parquet file of its own.

    Returns:
        SHA-256 of the file: that of the set's own data file, where nothing has changed.

    Raises:
        VeclipError: there is no such set, or pinned files are gone.
    """
    scratch = Warehouse.at(str(path.parent / f".rebuild-{set_version}"))
    made = _made_again(warehouse, recipe, set_version, scratch)
    Path(scratch.path(TRAINING_SETS, made.path)).replace(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rebuild_content(warehouse: Warehouse, recipe: str, set_version: str, folder: Path) -> str:
    """The content_version of a set that is made again from its pins, in a folder of its own. Errors as :func:`rebuild`."""
    scratch, partition = Warehouse.at(str(folder)), {"recipe": recipe, "set_version": set_version}
    made = _made_again(warehouse, recipe, set_version, scratch)
    replace_partition(scratch, TRAINING_SETS, partition, [made], expected=frozenset(), properties={})
    return content_version(scratch, TRAINING_SETS, partition)[0]


def _made_again(warehouse: Warehouse, recipe: str, set_version: str, scratch: Warehouse) -> DataFile:
    pins = read_pins(warehouse, recipe, set_version)
    with connect_pinned(warehouse, pins.tables) as connection:
        parts = Mix.from_json(recipe, pins.mix).parts
        rows = select_rows(connection, parts).to_arrow_reader(_ROWS).cast(TRAINING_SETS.file_schema)
        return write_file(scratch, TRAINING_SETS, {"recipe": recipe, "set_version": set_version}, "set", rows)
