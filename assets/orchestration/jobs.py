"""Jobs: what a person or the command line launches. Everything that changes data is a Dagster run."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from assets.configuration import configuration_assets
from assets.orchestration.crawl_jobs import register_crawl_drop, retire_crawl_partition, roll_back_crawl_partition
from assets.orchestration.pruning import prune
from assets.orchestration.takedowns import finish_takedowns, take_down
from veclip_pipelines.stages import CRAWL_PARTITION, RECIPE, names_of

AUDIT = "audit_warehouse"
CONFIGURATION = "configuration"
CAPTIONS = "captions"
MODELS = "models"
INDEX = "index_crawl_drop"
DUPLICATES = "find_duplicates"
EXPERIMENT = "experiment"
SCOREBOARD = "scoreboard_page"

_unpartitioned = dg.AssetSelection.assets(
    *(asset.key for asset in configuration_assets if asset.partitions_def is None)
)

audit_job = dg.define_asset_job(
    AUDIT, selection=dg.AssetSelection.assets("audit"), description="Checks the whole warehouse."
)

jobs: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = [
    register_crawl_drop,
    roll_back_crawl_partition,
    retire_crawl_partition,
    take_down,
    finish_takedowns,
    prune,
    audit_job,
    dg.define_asset_job(
        INDEX,
        selection=dg.AssetSelection.assets("raw_crawl"),
        description="A crawl partition from its drop to raw_crawl only.",
    ),
    dg.define_asset_job(
        DUPLICATES,
        selection=dg.AssetSelection.assets("duplicates"),
        description="Duplicate pictures across all crawl partitions.",
    ),
    dg.define_asset_job(
        SCOREBOARD,
        selection=dg.AssetSelection.assets("scoreboard"),
        description="Rewrites the scoreboard.",
    ),
    dg.define_asset_job(
        EXPERIMENT,
        selection=dg.AssetSelection.groups("experiment"),
        description="The experiment's data, and its report.",
    ),
    dg.define_asset_job(
        CONFIGURATION,
        selection=_unpartitioned,
        description="Records the versions of prompts and engine profiles.",
    ),
    dg.define_asset_job(
        CAPTIONS,
        selection=dg.AssetSelection.assets(*names_of(CRAWL_PARTITION)),
        description="A crawl partition from its drop to VeCap.",
    ),
    dg.define_asset_job(
        MODELS,
        selection=dg.AssetSelection.assets("recipes", *names_of(RECIPE)),
        description="A recipe from its training set to its scores.",
    ),
]
