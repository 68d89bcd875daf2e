"""The stages of the graph, from the crawl to the scores, each declared once.

A stage is an asset with a table. Everything that goes through the stages one by one reads them from here: the plan,
backfills, the audit, traces, reports, pruning and takedowns. What a stage does is elsewhere: how its rows are made is in a
package of its own, when it runs is in ``assets``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from veclip_pipelines.schemas import crawl_schemas as crawl
from veclip_pipelines.schemas import takedown_schemas as takedown
from veclip_pipelines.schemas import training_schemas as training
from veclip_pipelines.schemas.run_schemas import RUNS
from veclip_pipelines.schemas.spec import TableSpec

CRAWL_PARTITION, RECIPE = "crawl_partition", "recipe"
#: The partition under which an asset without partitions is recorded.
ALL = "all"


@dataclass(frozen=True)
class Stage:
    """A stage of the graph.

    Attributes:
        table: where its rows are. Its name is the asset's key; its columns say how it is partitioned and what
            identifies a row.
        keyed_by: what its Dagster partitions are: crawl_partition, recipe, or None where it has none.
        upstream: names of the stages that it reads.
        code_version: changes when the same inputs give other rows, and makes everything made before stale.
        is_replaced: whether a materialisation replaces a part of the table, whose content is its data version; otherwise it adds rows.
        rejects_by: column that names a row among the rejects; None for a table that keeps no rejects.
        is_balanced: whether rows in are rows kept and rejected.
        describes: column by which each row must be found in raw_crawl: the picture or the sample that a caption is of.
        texts: SQL for the list of all texts of a row with words of strangers or models; "" if there are none.
        source: the name that recipes use for the texts drawn from it.
        is_checked: whether it has asset checks, which are a step of its runs.
        colour: in pictures of the lineage. called: name of a row in traces.
    """

    table: TableSpec
    keyed_by: str | None
    upstream: tuple[str, ...]
    code_version: str
    colour: str
    is_replaced: bool = True
    rejects_by: str | None = None
    is_balanced: bool = True
    describes: str | None = None
    texts: str = ""
    source: str | None = None
    is_checked: bool = True
    called: str = ""

    @property
    def name(self) -> str:
        """The asset's key and the table's name."""
        return self.table.name

    @property
    def has_engines(self) -> bool:
        """Whether several engines' rows of a partition exist side by side."""
        return "engine_id" in self.table.partition_by

    @property
    def engine_columns(self) -> tuple[str, ...]:
        """Columns that name an engine."""
        return tuple(name for name in self.table.schema.names if name == "engine_id" or name.endswith("_engine_id"))

    def part(self, partition: str, inputs: Mapping[str, str]) -> dict[str, str] | None:
        """The part of the table that a materialisation wrote; None if it wrote no part of its own.

        Args:
            partition: its Dagster partition. inputs: the versions that it noted.
        """
        if not self.is_replaced or (self.has_engines and not inputs.get("engine")):
            return None
        values = {
            CRAWL_PARTITION: lambda: partition,
            RECIPE: lambda: partition,
            "engine_id": lambda: inputs["engine"],
            "set_version": lambda: version_of(inputs),
        }
        return {column: values[column]() for column in self.table.partition_by}


def version_of(inputs: Mapping[str, str]) -> str:
    """A training set's version: hash over its recipe and the versions of all its inputs."""
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()[:16]


_CAPTION_TEXTS = "[text, engine_text]"

RAW_CRAWL = Stage(
    crawl.RAW_CRAWL,
    keyed_by=CRAWL_PARTITION,
    upstream=(),
    code_version="raw_crawl.3",
    colour="#dbe4ff",
    rejects_by="source_key",
    source="alt_text",
    texts="[alt_text, alt_text_raw] || list_transform(coalesce(captions, []), lambda c: c.text)",
)
DUPLICATES = Stage(
    crawl.DUPLICATES, keyed_by=None, upstream=("raw_crawl",), code_version="duplicates.1", colour="#dbe4ff"
)
CONCEPT_CAPTIONS = Stage(
    crawl.CONCEPT_CAPTIONS,
    keyed_by=CRAWL_PARTITION,
    upstream=("raw_crawl",),
    code_version="concept_captions.2",
    colour="#d3f9d8",
    rejects_by="image_sha256",
    describes="image_sha256",
    texts=_CAPTION_TEXTS,
    source="concept_caption",
    called="concept caption",
)
VECAP = Stage(
    crawl.VECAP,
    keyed_by=CRAWL_PARTITION,
    upstream=("raw_crawl", "concept_captions"),
    code_version="vecap.2",
    colour="#d3f9d8",
    rejects_by="sample_id",
    describes="sample_id",
    texts=_CAPTION_TEXTS,
    source="vecap",
    called="VeCap",
)
TRAINING_SETS = Stage(
    training.TRAINING_SETS,
    keyed_by=RECIPE,
    upstream=("raw_crawl", "duplicates", "concept_captions", "vecap"),
    code_version="training_sets.2",
    colour="#ffe8cc",
    rejects_by="sample_id",
)
CHECKPOINTS = Stage(
    training.CHECKPOINTS,
    keyed_by=RECIPE,
    upstream=("training_sets",),
    code_version="checkpoints.2",
    colour="#ffdeeb",
    is_replaced=False,
    is_checked=False,
)
BENCHMARK_SCORES = Stage(
    training.BENCHMARK_SCORES,
    keyed_by=RECIPE,
    upstream=("checkpoints",),
    code_version="benchmark_scores.2",
    colour="#eebefa",
    is_replaced=False,
    is_balanced=False,
)

#: All stages by name, upstream first.
STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        RAW_CRAWL,
        DUPLICATES,
        CONCEPT_CAPTIONS,
        VECAP,
        TRAINING_SETS,
        CHECKPOINTS,
        BENCHMARK_SCORES,
    )
}

#: Tables that are not stages: records about the stages, and about what is done to them.
_OTHER_TABLES = (
    crawl.CRAWL_DROPS,
    crawl.DUPLICATE_PAIRS,
    crawl.ENGINES,
    crawl.PROVENANCE,
    training.SET_PINS,
    training.SET_FIGURES,
    takedown.EXPORTS,
    takedown.TAKEDOWNS,
    takedown.TOMBSTONES,
    takedown.ERASURES,
    takedown.TAINTS,
    RUNS,
)


def tables() -> dict[str, TableSpec]:
    """All tables of the warehouse by name."""
    return {spec.name: spec for spec in (*(stage.table for stage in STAGES.values()), *_OTHER_TABLES)}


def stages_of(keyed_by: str | None) -> tuple[Stage, ...]:
    """The stages with one partition per crawl partition, or per recipe, or with no partitions; upstream first."""
    return tuple(stage for stage in STAGES.values() if stage.keyed_by == keyed_by)


def names_of(keyed_by: str | None) -> tuple[str, ...]:
    """Their names."""
    return tuple(stage.name for stage in stages_of(keyed_by))


def caption_stages() -> tuple[Stage, ...]:
    """The stages of captions: several engines' rows of a crawl partition, each about a picture or a sample of raw_crawl."""
    return tuple(stage for stage in STAGES.values() if stage.has_engines and stage.describes)


def stage_of_source(source: str) -> Stage | None:
    """The stage that a recipe's texts of a source are drawn from; None for texts that came with the drop."""
    return next((stage for stage in STAGES.values() if stage.source == source), None)


def depth(name: str) -> int:
    """Number of stages on the longest path to a stage, including itself: 1 for raw_crawl."""
    return 1 + max((depth(upstream) for upstream in STAGES[name].upstream), default=0)
