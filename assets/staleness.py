"""What is stale: what was made from other versions than those of now. The provenance table decides, by the inputs of each asset."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from assets.inputs import (
    checkpoint_inputs,
    concept_engine,
    concept_inputs,
    fused_concepts,
    fusion_engine,
    raw_crawl_inputs,
    score_inputs,
    training_set_inputs,
    vecap_inputs,
)
from assets.partitions import CRAWL_ASSETS, RECIPE_ASSETS
from veclip_pipelines.crawl.drops import list_drops
from veclip_pipelines.crawl.duplicates import duplicates_inputs
from veclip_pipelines.crawl.policy import crawl_policy
from veclip_pipelines.errors import VeclipError
from veclip_pipelines.lineage.provenance import is_current
from veclip_pipelines.recipe import recipe_catalogue
from veclip_pipelines.settings import Settings
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

#: The table that each source of a recipe's texts is read from.
_TABLES = {"alt_text": "raw_crawl", "concept_caption": "concept_captions", "vecap": "vecap"}


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
    """Compares what is there with what would be made now."""

    settings: Settings
    warehouse: Warehouse

    def captions(self, partition: str, concept_profile: str, fusion_profile: str) -> list[str]:
        """The crawl assets of a partition that are stale, each with all that is downstream of it.

        Raises:
            UsageError: an unknown profile or partition. ModelMissingError: a model that is not installed.
        """
        concept = concept_engine(self.settings, concept_profile)
        fusion = fusion_engine(self.settings, fusion_profile)
        fused = fused_concepts(self.settings, fusion, concept_profile)
        inputs = {
            "raw_crawl": lambda: raw_crawl_inputs(self.settings, self.warehouse, partition),
            "concept_captions": lambda: concept_inputs(self.warehouse, partition, concept),
            "vecap": lambda: vecap_inputs(self.warehouse, partition, fusion, fused),
        }
        return self._of(CRAWL_ASSETS, partition, inputs)

    def models(self, recipe: str, *, changing: Collection[str] = ()) -> list[str]:
        """The recipe assets that are stale, each with all that is downstream of it.

        Args:
            changing: for a plan: the tables of captions that are about to change.
        """
        sources = {text.source for text in recipe_catalogue(self.settings).load(recipe).texts}
        tables = {"raw_crawl", *(_TABLES[source] for source in sources if source in _TABLES)}
        if tables & set(changing):
            return list(RECIPE_ASSETS)
        inputs = {
            "training_sets": lambda: training_set_inputs(self.settings, self.warehouse, recipe).versions,
            "checkpoints": lambda: checkpoint_inputs(training_set_inputs(self.settings, self.warehouse, recipe)),
            "benchmark_scores": lambda: score_inputs(self.settings, self.warehouse, recipe),
        }
        return self._of(RECIPE_ASSETS, recipe, inputs)

    def raw_crawl(self, partition: str) -> bool:
        """Whether a partition's drop or the code that indexes it changed since."""
        inputs = raw_crawl_inputs(self.settings, self.warehouse, partition)
        return not is_current(self.warehouse, "raw_crawl", partition, inputs)

    def duplicates(self) -> bool:
        """Whether a crawl partition changed since duplicates were looked for."""
        distance = crawl_policy(self.settings).near_duplicate_distance
        return not is_current(self.warehouse, "duplicates", "all", duplicates_inputs(self.warehouse, distance))

    def of_what_was_made(self) -> list[Stale]:
        """All that was made once and is stale now, captions by the profiles that made the newest.

        What cannot be compared, as its profile, recipe or model is gone, is left out: nobody could make it anew.
        """
        made = self._made()
        registered = {drop.crawl_partition for drop in list_drops(self.warehouse)}
        found: list[Stale] = []
        changing: set[str] = set()
        for key in sorted(registered & {partition for asset, partition in made if asset == "raw_crawl"}):
            concept = made.get(("concept_captions", key)) or self.settings.concept_engine
            fusion = made.get(("vecap", key)) or self.settings.fusion_engine
            stale = _known(partial(self.captions, key, concept, fusion))
            found.append(Stale(key, tuple(asset for asset in stale if (asset, key) in made)))
            changing.update(found[-1].assets)
        if ("duplicates", "all") in made and self.duplicates():
            found.append(Stale("all", ("duplicates",)))
        for name in sorted(partition for asset, partition in made if asset == "training_sets"):
            stale = _known(partial(self.models, name, changing=changing))
            found.append(Stale(name, tuple(asset for asset in stale if (asset, name) in made)))
        return [one for one in found if one.assets]

    def _made(self) -> dict[tuple[str, str], str]:
        """Asset and partition of all that was materialised; of captions the profile of the newest engine."""
        rows = read_rows(
            self.warehouse,
            "SELECT p.asset, p.partition, coalesce(e.profile, '') AS profile FROM provenance p "
            "LEFT JOIN engines e ON e.engine_id = json_extract_string(p.inputs, '$.engine') "
            "QUALIFY row_number() OVER (PARTITION BY p.asset, p.partition ORDER BY p.recorded_at DESC) = 1",
            tables=["provenance", "engines"],
        )
        return {(row["asset"], row["partition"]): row["profile"] for row in rows}

    def _of(
        self, order: Sequence[str], partition: str, inputs: Mapping[str, Callable[[], dict[str, str]]]
    ) -> list[str]:
        for place, asset in enumerate(order):
            try:
                current = is_current(self.warehouse, asset, partition, inputs[asset]())
            except VeclipError:
                # What it is made from is not there yet: that is found out when it runs, and said there.
                current = False
            if not current:
                return list(order[place:])
        return []


def _known(ask: Callable[[], list[str]]) -> list[str]:
    try:
        return ask()
    except VeclipError:
        return []
