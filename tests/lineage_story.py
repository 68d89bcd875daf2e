"""A small story to trace and compare: a crawl of eight samples, two engines, one training set, one checkpoint, one score."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from builders import DropEntry, index, picture, write_drop
from training_jobs import RECIPE

from veclip_pipelines.config.recipe import Recipe, TrainingSettings
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.crawl.duplicates import find_duplicates
from veclip_pipelines.mixing.training_set import ResolvedText, input_versions, make_training_set, resolve_mix
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, CRAWL_DROPS, ENGINES, RAW_CRAWL, VECAP
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.schemas.training_schemas import BENCHMARK_SCORES, CHECKPOINTS
from veclip_pipelines.tables.commit import append_new, partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.provenance import Provenance, record
from veclip_pipelines.tables.query import content_version, read_rows
from veclip_pipelines.tables.warehouse import Warehouse
from veclip_pipelines.takedown.execution import carry_out
from veclip_pipelines.takedown.register import Takedown, register
from veclip_pipelines.takedown.requests import Request
from veclip_pipelines.training.exposure import write_exposure
from veclip_pipelines.training.loop import plan_of
from veclip_pipelines.training.samples import SampleFile, write_samples

EVIL = "<script>alert(1)</script>"
#: An AltText long enough to be searched for.
TEXT = "the grey cat of Mrs. Müller on her balcony"
EYE, HAND = "e" * 32, "f" * 32
CHECKPOINT, MLFLOW_RUN = "c" * 16, "a" * 32
STEPS, TRAINING = 10, TrainingSettings(batch_size=4, steps=10)


def put(warehouse: Warehouse, spec: TableSpec, engine: str, rows: list[dict[str, object]], name: str = "f") -> None:
    partition = {"crawl_partition": "crawl-1", "engine_id": engine}
    file = write_file(warehouse, spec, partition, name, table_of(spec, rows))
    kept = partition_files(warehouse.open(spec), partition)
    replace_partition(warehouse, spec, partition, [file], expected=kept, properties={})


def add(warehouse: Warehouse, spec: TableSpec, **row: object) -> None:
    append_new(warehouse, spec, [row], properties={})


def tell(
    folder: Path,
    settings: Settings,
    warehouse: Warehouse,
    weights_sha256: str = "d" * 64,
    alt_texts: Mapping[int, str] = MappingProxyType({}),
    pictures: Mapping[int, bytes] = MappingProxyType({}),
) -> str:
    """Writes the story; the version of its training set.

    Args:
        alt_texts, pictures: others than the usual ones, by number.
    """
    entries = [
        DropEntry(
            alt_texts.get(number, f"text {number}"),
            pictures.get(number, picture(number)),
            url=f"https://www.pictures.example:443/{number}.png",
        )
        for number in range(6)
    ]
    entries += [DropEntry(EVIL, picture(0)), DropEntry("broken", b"no picture")]
    index(warehouse, write_drop(folder / "drop", entries), "crawl-1")
    add(
        warehouse, CRAWL_DROPS, crawl_partition="crawl-1", uri=str(folder / "drop"), format="img2dataset", fingerprint="f", shards=1,
        registered_by="someone", registered_at=datetime.now(UTC), state="active",
    )  # fmt: skip
    find_duplicates(warehouse, 6, properties={})
    samples = read_rows(warehouse, "SELECT * FROM raw_crawl WHERE outcome = 'kept'", tables=["raw_crawl"])
    for engine_id, profile, prompt in ((EYE, "eye", "concept@2"), (HAND, "hand", "fusion@1")):
        add(
            warehouse, ENGINES, engine_id=engine_id, profile=profile, kind="k", model=f"org/{profile}", revision="r1", prompt_name=prompt,
            prompt_text=f"words of {prompt}", decoding="{}", code_version="1", library_versions="{}", first_used_at=datetime.now(UTC),
        )  # fmt: skip
    made: dict[str, object] = {"input_hash": "h", "outcome": "kept", "route": "engine", "attempts": 1}
    shown = {row["image_sha256"] for row in samples}
    put(warehouse, CONCEPT_CAPTIONS, EYE, [{"image_sha256": sha, "text": f"seen {sha[:6]}", **made} for sha in shown])
    fused = [
        {"sample_id": row["sample_id"], "concept_engine_id": EYE, "text": f"fused {row['sample_id']}", **made}
        for row in samples
    ]
    put(warehouse, VECAP, HAND, fused)
    version = make_set(warehouse, RECIPE)
    folder = settings.checkpoints / CHECKPOINT
    write_samples(warehouse, "r", version, folder / "samples.arrow")
    shown = SampleFile(folder / "samples.arrow")
    write_exposure(folder, shown, plan_of(shown, TRAINING).seen(STEPS))
    add(
        warehouse, CHECKPOINTS, checkpoint_id=CHECKPOINT, recipe="r", set_version=version, uri=str(folder), weights_sha256=weights_sha256,
        mlflow_run_id=MLFLOW_RUN, settings=json.dumps({"training": TRAINING.model_dump()}), samples=len(shown), steps=STEPS,
        final_loss=1.0, trained_at=datetime.now(UTC),
    )  # fmt: skip
    add(
        warehouse, BENCHMARK_SCORES, checkpoint_id=CHECKPOINT, recipe="r", benchmark="b", benchmark_sha256="b" * 64, metric="acc@1",
        value=0.25, queries=4, code_version="1", scored_at=datetime.now(UTC),
    )  # fmt: skip
    return version


def take_down(settings: Settings, warehouse: Warehouse, data: bytes, *, keep_days: float = 0) -> Takedown:
    """Takes the sample with a picture out of everything; of the checkpoints none is left to show it."""
    shutil.rmtree(settings.checkpoints)
    request = Request("sha256", hashlib.sha256(data).hexdigest())
    takedown, _ = register(warehouse, [request], by="someone", reason="asked", keep_days=keep_days)
    carry_out(warehouse, settings, takedown.takedown_id, tracking=None, run_id="run-1")
    return takedown


def make_set(warehouse: Warehouse, recipe: Recipe, fusion: str = HAND) -> str:
    """A set of AltText and an engine's VeCap by an even draw; its version."""
    texts = [
        ResolvedText(source="alt_text", probability=0.5),
        ResolvedText(source="vecap", probability=0.5, engine_id=fusion, profile="hand"),
    ]
    mix = resolve_mix(warehouse, recipe, {"main": texts})
    return make_training_set(warehouse, mix, input_versions(warehouse, mix), properties={}).set_version


def tell_provenance(warehouse: Warehouse) -> None:
    """Notes the materialisations that would have made the story."""
    raw = content_version(warehouse, RAW_CRAWL, {"crawl_partition": "crawl-1"})[0]
    seen = content_version(warehouse, CONCEPT_CAPTIONS, {"crawl_partition": "crawl-1", "engine_id": EYE})[0]
    fused = content_version(warehouse, VECAP, {"crawl_partition": "crawl-1", "engine_id": HAND})[0]
    pins = read_rows(warehouse, "SELECT * FROM set_pins", tables=["set_pins"])[0]
    noted: list[tuple[str, str, dict[str, str], str, int, int]] = [
        ("raw_crawl", "crawl-1", {"drop": "f", "code": "1"}, raw, 7, 1),
        ("concept_captions", "crawl-1", {"raw_crawl/crawl-1": raw, "engine": EYE}, seen, 6, 0),
        (
            "vecap",
            "crawl-1",
            {"raw_crawl/crawl-1": raw, f"concept_captions/crawl-1/{EYE}": seen, "engine": HAND},
            fused,
            7,
            0,
        ),
        ("training_sets", "r", json.loads(pins["inputs"]), pins["content_version"], 7, 0),
        ("checkpoints", "r", {"training_set": pins["set_version"], "checkpoint": CHECKPOINT}, "k", 1, 0),
        ("benchmark_scores", "r", {"checkpoint": CHECKPOINT, "code": "1"}, "s", 1, 0),
    ]
    for number, (asset, partition, inputs, version, kept, rejected) in enumerate(noted):
        record(
            warehouse,
            Provenance(
                asset=asset, partition=partition, run_id=f"00000000-0000-4000-8000-00000000000{number}", inputs=inputs,
                data_version=version, delta_version=1, files=[],
                rows_in=kept + rejected, rows_kept=kept, rows_rejected=rejected, seconds=1.0, code_version="1",
                launched_by="someone",
                guards=json.dumps({"rows": kept, "faults": {"cut": 3}}) if asset == "concept_captions" else None,
            ),
        )  # fmt: skip
