"""A recipe resolved for a warehouse: its crawl partitions by name, its engines by id."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from veclip_pipelines.config.recipe import Condition, Filters, Part, Recipe, TextSourceName
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse


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
        uids: absolute path of the file with the list.
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
    """All parts of a recipe, resolved; a sample belongs to the first part that takes it."""

    recipe: str
    parts: tuple[ResolvedPart, ...]

    def as_json(self) -> str:
        return json.dumps([part.model_dump(mode="json") for part in self.parts], sort_keys=True)

    @classmethod
    def from_json(cls, recipe: str, text: str) -> Mix:
        return cls(recipe, tuple(ResolvedPart.model_validate(part) for part in json.loads(text)))

    def engines(self, source: TextSourceName) -> dict[str, str]:
        """Profile of each engine_id that makes a text of a source."""
        found = (text for part in self.parts for text in part.texts if text.source == source and text.engine_id)
        return {str(text.engine_id): str(text.profile) for text in found}


def resolve_mix(
    warehouse: Warehouse, recipe: Recipe, texts: Mapping[str, Sequence[ResolvedText]], home: Path | None = None
) -> Mix:
    """A recipe with the crawl partitions that are there now.

    Args:
        texts: texts of each part, by the part's name.
        home: folder to which a relative path of a list of uids refers.

    Raises:
        VeclipError: a part names a partition that is not materialised, or no partition is.
    """
    rows = read_rows(
        warehouse, "SELECT DISTINCT crawl_partition AS key FROM raw_crawl ORDER BY 1", tables=["raw_crawl"]
    )
    present = [row["key"] for row in rows]
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
