"""Concept captions: what an image-text engine says of each picture, without having seen its AltText (paper, section 3.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from veclip_pipelines.captioning.asking import ask
from veclip_pipelines.captioning.fallbacks import fall_back
from veclip_pipelines.captioning.guards import Case, first_fault
from veclip_pipelines.captioning.picture_batches import PictureReader
from veclip_pipelines.captioning.plan import Unit
from veclip_pipelines.captioning.results import Caption
from veclip_pipelines.captioning.stage import StageResult, Work, run_stage
from veclip_pipelines.captioning.stage_progress import Report, no_report
from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.tables.warehouse import Warehouse

CODE_VERSION = "concept_captions.2"

_META = re.compile(
    r"^\s*(?:(?:in\s+)?(?:the|this)\s+(?:image|picture|photo|photograph)(?:\s+(?:shows|features|depicts|displays|contains|"
    r"captures|presents|is(?: of)?)|,|\s+there (?:is|are))|there (?:is|are))\s+",
    re.IGNORECASE,
)
#: The distinct kept pictures of a partition in the order of their shards: so they are read by range, in order.
_UNITS = f"""
    SELECT image_sha256 AS input_hash, [image_sha256] AS keys, place.uri AS shard_uri, place.at AS image_offset,
           place.length AS image_length, image_sha256, '' AS alt_text, '' AS concept, NULL::VARCHAR AS unrelated
    FROM (SELECT image_sha256, min({{'uri': shard_uri, 'at': image_offset, 'length': image_length}}) AS place FROM raw_crawl
          WHERE crawl_partition = $partition AND outcome = '{KEPT}' GROUP BY image_sha256)
    ORDER BY place, image_sha256"""  # noqa: S608


def caption_partition(
    warehouse: Warehouse,
    engine: EngineSpec,
    crawl_partition: str,
    runner: Runner,
    *,
    properties: Mapping[str, str],
    report: Report = no_report,
) -> StageResult:
    """Captions each kept picture of a crawl partition once, however often the partition has it."""
    work = Work(
        warehouse, CONCEPT_CAPTIONS, engine, crawl_partition, _UNITS, {"partition": crawl_partition}, ("raw_crawl",),
        describe_units, {},
    )  # fmt: skip
    return run_stage(work, runner, properties=properties, report=report)


def describe_units(spec: EngineSpec, units: Sequence[Unit]) -> list[Caption]:
    """Reads, decodes and describes the pictures of one batch."""
    reader = PictureReader(units, [{}] * len(units))
    asked = ask(spec, range(len(units)), reader.batches, tidy_concept, lambda _, answer: _fault(spec, answer))
    return [_settled(spec, unit, reader.unreadable.get(place) or asked[place]) for place, unit in enumerate(units)]


def tidy_concept(answer: EngineText) -> EngineText:
    """A caption without quotes around it, without "The image shows" before it, and without a sentence that was cut.

    What stands before a sentence that the token budget cut may still do: then it counts as stopped.
    """
    text = " ".join(answer.text.split()).strip("\"'“” ")
    text = _META.sub("", text)
    if answer.finish_reason != "length":
        return replace(answer, text=text)
    whole, stop, _ = text.rpartition(".")
    return replace(answer, text=whole + stop, finish_reason="stop") if whole else replace(answer, text=text)


def _fault(spec: EngineSpec, answer: EngineText) -> str | None:
    return first_fault(Case(answer, spec.prompt, sees=True), spec.profile.guards)


def _settled(spec: EngineSpec, unit: Unit, caption: Caption) -> Caption:
    """A picture has nothing to fall back to: what no guard lets through is a reject."""
    if caption.text is not None or not caption.attempts:
        return caption
    assert caption.reason is not None
    return fall_back(spec.profile.guards.fallback(caption.reason), unit, caption, caption.reason)
