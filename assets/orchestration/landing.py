"""The sensor that ingests what lands: it looks, asks a pure function what is to be done, and does it."""

from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg

from assets.orchestration.jobs import INDEX
from assets.shared.partitions import crawl_partitions
from assets.shared.run_log import partitions_in_flight
from resources.delta_lake import DeltaLakeResource
from resources.home import HomeResource
from veclip_pipelines.crawl.drops import Drop, inspect_listing, list_drops, register_drops
from veclip_pipelines.crawl.landing import LandedDrop, LandingChanges, landed_drops, landing_changes
from veclip_pipelines.crawl.policy import LandingPlace, crawl_policy
from veclip_pipelines.errors import UsageError
from veclip_pipelines.stages import CRAWL_PARTITION, RAW_CRAWL
from veclip_pipelines.tables.provenance import materialisations
from veclip_pipelines.tables.warehouse import Warehouse

#: Number of keys in one request to add dynamic partitions, and of drops ingested at one look.
CHUNK = 500
_LAUNCHED_BY = "sensor landing"


@dataclass(frozen=True)
class Taken:
    """Drops to index, which of them were newly registered, and what was not ingested and why."""

    index: tuple[LandedDrop, ...]
    registered: tuple[str, ...]
    not_taken: tuple[str, ...]


def take_landed(instance: dg.DagsterInstance, warehouse: Warehouse, places: Iterable[LandingPlace], tick: str) -> Taken:
    """Looks at the landing places and registers the drops that are new or changed, in one commit.

    Raises:
        UsageError: a landing place does not exist.
    """
    landed = [drop for place in places for drop in landed_drops(place)]
    known = {drop.crawl_partition: drop for drop in list_drops(warehouse, retired=True)}
    changes = landing_changes(landed, known, _indexed(warehouse), partitions_in_flight(instance), CHUNK)
    return _register(warehouse, changes, tick)


def _register(warehouse: Warehouse, changes: LandingChanges, tick: str) -> Taken:
    drops: list[tuple[str, Drop]] = []
    refused = dict(changes.refused)
    for landed in changes.register:
        try:
            drops.append((landed.key, inspect_listing(landed.listing)))
        except UsageError as error:
            refused[landed.uri] = str(error)
    if drops:
        register_drops(warehouse, drops, run_id=tick, registered_by=_LAUNCHED_BY)
    index = tuple(landed for landed in changes.index if landed.uri not in refused)
    reasons = [f"{name}: {why}" for name, why in [*changes.waiting.items(), *refused.items()]]
    return Taken(index, tuple(key for key, _ in drops), tuple(reasons))


def _indexed(warehouse: Warehouse) -> dict[str, str]:
    """The fingerprint of the drop that each partition's raw_crawl was made from."""
    newest = materialisations(warehouse, assets=[RAW_CRAWL.name], newest="partition")
    return {one.partition: one.inputs["drop"] for one in newest}


@dg.sensor(
    job_name=INDEX,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ingests crawl drops in the landing places of crawl.yaml that are complete, and those that grew or changed.",
)
def landing_sensor(
    context: dg.SensorEvaluationContext, home: HomeResource, delta_lake: DeltaLakeResource
) -> dg.SensorResult | dg.SkipReason:
    places = crawl_policy(home.settings()).landing
    if not places:
        return dg.SkipReason(f"{home.settings().crawl_file} names no landing place")
    taken = take_landed(context.instance, delta_lake.warehouse(), places, f"sensor/{context.cursor or 0}")
    for reason in taken.not_taken:
        context.log.info("not taken: %s", reason)
    if not taken.index:
        return dg.SkipReason("; ".join(taken.not_taken)[:1000] or "nothing new")
    present = set(context.instance.get_dynamic_partitions(CRAWL_PARTITION))
    new = [landed.key for landed in taken.index if landed.key not in present]
    requests = [
        # Named after the drop's content: a drop that always fails is not tried again until it changes.
        dg.RunRequest(run_key=f"{landed.key}/{landed.fingerprint}", partition_key=landed.key)
        for landed in taken.index
    ]
    chunks = [new[start : start + CHUNK] for start in range(0, len(new), CHUNK)]
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[crawl_partitions.build_add_request(chunk) for chunk in chunks],
        cursor=str(int(context.cursor or 0) + 1),
    )
