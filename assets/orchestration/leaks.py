"""The check that a training set contains none of the pictures that its recipe is scored on."""

from assets.shared.check_factory import CheckOutcome
from veclip_pipelines.config.recipe import recipe_catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.policy import crawl_policy
from veclip_pipelines.errors import UsageError
from veclip_pipelines.evaluation.benchmarks import benchmark_folders, open_benchmark
from veclip_pipelines.mixing.overlap import benchmark_overlap
from veclip_pipelines.stages import version_of
from veclip_pipelines.tables.provenance import latest
from veclip_pipelines.tables.warehouse import Warehouse


def no_benchmark_leak(warehouse: Warehouse, settings: Settings, key: str) -> CheckOutcome:
    """None of the recipe's benchmarks shares a picture with the training set, be it the same or nearly the same."""
    source = latest(warehouse, "training_sets", key)
    recipe = recipe_catalogue(settings).load(key)
    try:
        folders = benchmark_folders(settings.benchmarks, recipe.benchmarks)
    except UsageError:
        return CheckOutcome(True, "there are no benchmarks yet", {"benchmarks": 0})
    set_version = version_of(source.inputs) if source else ""
    distance = crawl_policy(settings).near_duplicate_distance
    figures: dict[str, int | str] = {"benchmarks": len(folders)}
    leaks = []
    for folder in folders:
        prints = open_benchmark(folder).fingerprints(settings.home)
        found = benchmark_overlap(warehouse, key, set_version, prints.sha256, prints.phash, distance)
        figures[f"{folder.name}/pictures"] = len(prints.sha256)
        figures[f"{folder.name}/exact"], figures[f"{folder.name}/near"] = found.exact, found.near
        if found.near:
            leaks.append(
                f"{found.near} of {len(prints.sha256)} pictures of {folder.name} ({found.exact} with the same bytes)"
            )
    says = (
        f"the training set has {'; '.join(leaks)}: their scores say little"
        if leaks
        else "no picture is also in a benchmark"
    )
    return CheckOutcome(not leaks, says, figures)
