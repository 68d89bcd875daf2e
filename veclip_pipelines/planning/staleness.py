"""What is stale: what was made from versions other than the present ones. The provenance table decides, by the inputs of each asset."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeVar

from veclip_pipelines.config.recipe import recipe_catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.drops import list_drops, registered_drop
from veclip_pipelines.crawl.duplicates import duplicates_inputs
from veclip_pipelines.crawl.policy import crawl_policy
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.planning.inputs import (
    checkpoint_inputs,
    concept_engine,
    concept_inputs,
    fused_concepts,
    fusion_engine,
    raw_crawl_inputs,
    score_inputs,
    stage_inputs,
    training_set_inputs,
    vecap_inputs,
)
from veclip_pipelines.stages import ALL, CRAWL_PARTITION, RAW_CRAWL, RECIPE, names_of, stage_of_source, stages_of
from veclip_pipelines.tables.contents import Contents
from veclip_pipelines.tables.provenance import Recorded, is_current, materialisations
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

_T = TypeVar("_T")


@dataclass(frozen=True)
class Stale:
    """A partition that is stale.

    Attributes:
        key: crawl partition or recipe; "all" of duplicates.
        assets: those that are stale, each with all that is downstream of it.
    """

    key: str
    assets: tuple[str, ...]


@dataclass(frozen=True)
class Staleness:
    """Compares what exists with what would be made now."""

    settings: Settings
    warehouse: Warehouse

    def captions(self, partition: str, concept_profile: str, fusion_profile: str) -> list[str]:
        """Like :meth:`captions_of`, for one partition."""
        return self.captions_of([partition], concept_profile, fusion_profile)[partition]

    def captions_of(
        self, partitions: Sequence[str], concept_profile: str, fusion_profile: str, contents: Contents | None = None
    ) -> dict[str, list[str]]:
        """The crawl assets of each partition that are stale, each with all that is downstream of it. The tables are read once.

        Args:
            contents: of all of them, where they were read for others already.

        Raises:
            UsageError: an unknown profile. ModelMissingError: a model that is not installed.
        """
        concept = concept_engine(self.settings, concept_profile)
        fusion = fusion_engine(self.settings, fusion_profile)
        fused = fused_concepts(self.settings, fusion, concept_profile)
        contents = contents or Contents.of_partitions(self.warehouse, partitions)
        recorded = Recorded.of(self.warehouse, partitions)
        drops = {drop.crawl_partition: drop for drop in list_drops(self.warehouse)}

        def raw_crawl(key: str) -> dict[str, str]:
            return raw_crawl_inputs(self.settings, drops.get(key) or registered_drop(self.warehouse, key))

        own: dict[str, Callable[[str], dict[str, str]]] = {
            "raw_crawl": raw_crawl,
            "concept_captions": lambda key: concept_inputs(contents, key, concept),
            "vecap": lambda key: vecap_inputs(contents, key, fusion, fused),
        }
        return {key: _stale_of(recorded, CRAWL_PARTITION, key, own) for key in partitions}

    def models(self, recipe: str, *, changing: Collection[str] = (), contents: Contents | None = None) -> list[str]:
        """The recipe assets that are stale, each with all that is downstream of it.

        Args:
            changing: for a plan: the tables of captions that are about to change.
            contents: of all crawl partitions, where they were read for others already.
        """
        sources = {text.source for text in recipe_catalogue(self.settings).load(recipe).texts}
        read = {RAW_CRAWL.name, *(stage.name for source in sources if (stage := stage_of_source(source)))}
        if read & set(changing):
            return list(names_of(RECIPE))
        of_set = cache(partial(training_set_inputs, self.settings, self.warehouse, recipe, contents))
        own: dict[str, Callable[[str], dict[str, str]]] = {
            "training_sets": lambda _: of_set().versions,
            "checkpoints": lambda _: checkpoint_inputs(of_set()),
            "benchmark_scores": lambda _: score_inputs(self.settings, self.warehouse, of_set()),
        }
        return _stale_of(Recorded.of(self.warehouse, [recipe]), RECIPE, recipe, own)

    def raw_crawl(self, partition: str) -> bool:
        """Whether a partition's drop, or the code that indexes it, has changed since it was indexed."""
        inputs = raw_crawl_inputs(self.settings, registered_drop(self.warehouse, partition))
        return not is_current(self.warehouse, "raw_crawl", partition, inputs)

    def duplicates(self) -> bool:
        """Whether a crawl partition has changed since duplicates were last found."""
        distance = crawl_policy(self.settings).near_duplicate_distance
        return not is_current(self.warehouse, "duplicates", ALL, duplicates_inputs(self.warehouse, distance))

    def of_what_was_made(self) -> list[Stale]:
        """Everything that was once made and is stale now; captions by the profiles that made the newest ones.

        What cannot be compared, as its profile, recipe or model is gone, is left out: it could not be remade.
        """
        made = self._made()
        registered = {drop.crawl_partition for drop in list_drops(self.warehouse)}
        contents = Contents.of_partitions(self.warehouse, registered)
        found: list[Stale] = []
        changing: set[str] = set()
        by_engines: dict[tuple[str, str], list[str]] = {}
        for key in sorted(registered & {partition for asset, partition in made if asset == "raw_crawl"}):
            concept = made.get(("concept_captions", key)) or self.settings.concept_engine
            fusion = made.get(("vecap", key)) or self.settings.fusion_engine
            by_engines.setdefault((concept, fusion), []).append(key)
        for engines, keys in by_engines.items():
            captions: dict[str, list[str]] = {}
            captions = _known(partial(self.captions_of, keys, *engines, contents), captions)
            for key, stale in captions.items():
                found.append(Stale(key, tuple(asset for asset in stale if (asset, key) in made)))
                changing.update(found[-1].assets)
        found.sort(key=lambda one: one.key)
        if ("duplicates", ALL) in made and self.duplicates():
            found.append(Stale(ALL, ("duplicates",)))
        for name in sorted(partition for asset, partition in made if asset == "training_sets"):
            nothing: list[str] = []
            stale = _known(partial(self.models, name, changing=changing, contents=contents), nothing)
            found.append(Stale(name, tuple(asset for asset in stale if (asset, name) in made)))
        return [one for one in found if one.assets]

    def _made(self) -> dict[tuple[str, str], str]:
        """Asset and partition of everything that was materialised; for captions with the profile of the newest engine."""
        engines = read_rows(self.warehouse, "SELECT engine_id, profile FROM engines", tables=["engines"])
        profiles = {row["engine_id"]: row["profile"] for row in engines}
        newest = materialisations(self.warehouse, newest="partition")
        return {(one.asset, one.partition): profiles.get(one.engine, "") for one in newest}


def _stale_of(
    recorded: Recorded, keyed_by: str, partition: str, own: Mapping[str, Callable[[str], dict[str, str]]]
) -> list[str]:
    """The first stage of a partition that is stale, and all that follow it.

    Args:
        keyed_by: which stages. own: what a stage is made from now, if that is more than what its upstream stages made.
    """
    order = stages_of(keyed_by)
    for place, stage in enumerate(order):
        try:
            inputs = own[stage.name](partition) if stage.name in own else stage_inputs(recorded, stage, partition)
            current = recorded.is_current(stage.name, partition, inputs)
        except VeclipError:
            # Its inputs are not there yet: that is found and reported when it runs.
            current = False
        if not current:
            return [stage.name for stage in order[place:]]
    return []


def _known(ask: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return ask()
    except VeclipError:
        return otherwise
