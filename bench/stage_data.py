"""A crawl partition as captioning reads it, written straight into the tables: for benchmarks that need no pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from veclip_pipelines.captioning.concept import CODE_VERSION
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.engines.identity import EngineSpec, resolve_engine
from veclip_pipelines.engines.profiles import GuardPolicy
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, RAW_CRAWL
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.commit import replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.warehouse import Warehouse


def fusion_spec(**changes: object) -> EngineSpec:
    """The embedded fusion engine, asked once a row: so that both sides of a benchmark do the same work."""
    spec = resolve_engine(Settings.from_env(), "smollm2-fusion", "fusion", "bench")
    profile = spec.profile.model_copy(update={"guards": GuardPolicy(skip=("boilerplate",)), **changes})
    return replace(spec, profile=profile)


def concept_spec() -> EngineSpec:
    """The engine whose concept captions :func:`write_texts` has written: the embedded one, which no benchmark asks."""
    return resolve_engine(Settings.from_env(), "tagger", "concept", CODE_VERSION)


def write_texts(warehouse: Warehouse, partition: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes raw_crawl and concept_captions of one partition; each row has alt_text and concept."""
    raw: list[dict[str, object]] = []
    concepts: list[dict[str, object]] = []
    for number, values in enumerate(rows):
        key = f"{number:032x}"
        raw.append(
            {
                "sample_id": key, "image_sha256": key * 2, "alt_text": values["alt_text"], "source_key": key, "shard_uri": "none",
                "image_offset": 0, "image_length": 0, "flags": [], "outcome": KEPT,
            }
        )  # fmt: skip
        concepts.append({"image_sha256": key * 2, "text": values["concept"], "input_hash": key * 2, "outcome": KEPT})
    _put(warehouse, RAW_CRAWL, {"crawl_partition": partition}, raw)
    _put(warehouse, CONCEPT_CAPTIONS, {"crawl_partition": partition, "engine_id": concept_spec().engine_id}, concepts)


def _put(warehouse: Warehouse, spec: TableSpec, partition: dict[str, str], rows: list[dict[str, object]]) -> None:
    file = write_file(warehouse, spec, partition, "bench", table_of(spec, rows))
    replace_partition(warehouse, spec, partition, [file], expected=frozenset(), properties={})
