"""Concept captions: what an image-text engine says of each picture, without having seen its AltText (paper, section 3.1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from PIL import Image

from veclip_pipelines.captioning.stage import (
    BatchDone,
    BatchTask,
    Caption,
    StageResult,
    Unit,
    finish_batch,
    run_stage,
)
from veclip_pipelines.engines.base import EngineText
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.engines.loading import image_text_engine
from veclip_pipelines.fanout import Runner, stop_if_cancelled
from veclip_pipelines.pictures import PictureError, decode
from veclip_pipelines.shards import ByteRange, read_ranges
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.schemas import CONCEPT_CAPTIONS, KEPT
from veclip_pipelines.tables.warehouse import Warehouse

CODE_VERSION = "concept_captions.1"

#: Engines see at most so many pixels a side: a panorama of a stranger must not fill a worker's memory.
_MAX_SIDE = 1024
_META = re.compile(
    r"^\s*(?:the|this)\s+(?:image|picture|photo|photograph)\s+(?:shows|features|depicts|displays|contains|captures|is(?: of)?)\s+",
    re.IGNORECASE,
)


def caption_partition(
    warehouse: Warehouse,
    engine: EngineSpec,
    crawl_partition: str,
    runner: Runner,
    *,
    properties: Mapping[str, str],
) -> StageResult:
    """Captions each kept picture of a crawl partition once, however often the partition has it."""
    units = picture_units(warehouse, crawl_partition)
    return run_stage(
        warehouse,
        CONCEPT_CAPTIONS,
        engine,
        crawl_partition,
        units,
        caption_pictures,
        runner,
        properties=properties,
    )


def picture_units(warehouse: Warehouse, crawl_partition: str) -> list[Unit]:
    """The distinct kept pictures of a partition in the order of their shards: so pictures are read by range, in order."""
    rows = read_rows(
        warehouse,
        "SELECT image_sha256, min((shard_uri, image_offset, image_length)) AS place FROM raw_crawl "  # noqa: S608
        f"WHERE crawl_partition = ? AND outcome = '{KEPT}' GROUP BY image_sha256 ORDER BY place, image_sha256",
        [crawl_partition],
        tables=["raw_crawl"],
    )
    return [
        Unit(row["image_sha256"], (row["image_sha256"],), picture=ByteRange(*_values(row["place"]))) for row in rows
    ]


def caption_pictures(task: BatchTask) -> BatchDone:
    """One batch: reads, decodes, describes, writes. Runs on a worker, whose engine stays loaded."""
    return finish_batch(task, _describe)


def tidy_concept(text: str) -> str:
    """A caption without quotes around it and without "The image shows" before it."""
    text = " ".join(text.split()).strip("\"'“” ")
    return _META.sub("", text)


def _describe(task: BatchTask) -> list[Caption]:
    engine = image_text_engine(task.engine)
    size = task.engine.profile.batch_rows
    captions: list[Caption] = []
    for start in range(0, len(task.units), size):
        stop_if_cancelled()
        units = task.units[start : start + size]
        pictures = [_load(unit, data) for unit, data in zip(units, read_ranges(_places(units)), strict=True)]
        seen = [picture for picture in pictures if isinstance(picture, Image.Image)]
        answers = iter(engine.describe(seen) if seen else [])
        captions += [_judge(next(answers)) if isinstance(picture, Image.Image) else picture for picture in pictures]
    return captions


def _places(units: tuple[Unit, ...]) -> list[ByteRange]:
    places = [unit.picture for unit in units if unit.picture is not None]
    if len(places) != len(units):
        raise ValueError("a unit of concept captions without a picture")
    return places


def _load(unit: Unit, data: bytes) -> Image.Image | Caption:
    if hashlib.sha256(data).hexdigest() != unit.input_hash:
        return Caption(
            None,
            None,
            reason="picture_changed",
            detail="the shard's bytes are no longer those that were indexed",
        )
    try:
        return decode(data, max_side=_MAX_SIDE)
    except PictureError as error:
        return Caption(None, None, reason=error.reason, detail=error.detail)


def _judge(answer: EngineText) -> Caption:
    text = tidy_concept(answer.text)
    if answer.finish_reason == "length":
        # A sentence that was cut says half a thing: what stands before it may still do.
        text, stop, _ = text.rpartition(".")
        text += stop
        if not text:
            return Caption(
                None,
                None,
                answer,
                reason="cut",
                detail="the token budget ended before the first sentence did",
            )
    if not any(char.isalnum() for char in text):
        return Caption(None, None, answer, reason="empty", detail="the engine said nothing")
    return Caption(text, "engine", answer)


def _values(place: object) -> tuple[str, int, int]:
    """DuckDB gives an unnamed struct as a tuple or as a dictionary, by its version."""
    values = tuple(place.values()) if isinstance(place, dict) else tuple(place)  # type: ignore[arg-type]
    return str(values[0]), int(values[1]), int(values[2])
