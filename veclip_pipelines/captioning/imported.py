"""Captions that a drop brought along, as captions of an imported engine: mixed and audited like our own.

Recap-DataComp's re_caption, LAION-COCO's top_caption, CapsFusion's and VeCap-300M's captions stand in raw_crawl's column
``captions``; an engine profile of kind ``imported`` names one of them. No model is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from veclip_pipelines.captioning.stage import (
    BatchDone,
    BatchTask,
    Caption,
    StageResult,
    Unit,
    finish_batch,
    run_stage,
)
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.fanout import Runner
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.schemas import KEPT, VECAP
from veclip_pipelines.tables.spec import TableSpec
from veclip_pipelines.tables.warehouse import Warehouse


def import_partition(
    warehouse: Warehouse,
    spec: TableSpec,
    engine: EngineSpec,
    crawl_partition: str,
    runner: Runner,
    *,
    properties: Mapping[str, str],
) -> StageResult:
    """Writes the captions that a partition's samples brought along into a table of captions.

    Args:
        spec: VECAP, a row a sample; or CONCEPT_CAPTIONS, a row a picture: where its samples brought different captions, that
            of the smallest sample_id counts, and all of them stay in raw_crawl.
    """
    units = imported_units(warehouse, spec, engine, crawl_partition)
    return run_stage(warehouse, spec, engine, crawl_partition, units, import_batch, runner, properties=properties)


def imported_units(warehouse: Warehouse, spec: TableSpec, engine: EngineSpec, crawl_partition: str) -> list[Unit]:
    """One unit a row: its text is part of its hash, as it is not made from the picture but came with the sample."""
    key = spec.keys[0]
    caption = "list_filter(captions, lambda c: c.name = $column)[1].text"
    rows = read_rows(
        warehouse,
        f"SELECT {key} AS key, coalesce(first({caption} ORDER BY {caption} IS NULL, sample_id), '') AS text FROM raw_crawl "  # noqa: S608
        f"WHERE crawl_partition = $partition AND outcome = '{KEPT}' GROUP BY {key} ORDER BY {key}",
        {"column": engine.profile.caption_column, "partition": crawl_partition},
        tables=["raw_crawl"],
    )
    columns = {"concept_engine_id": None} if spec is VECAP else {}
    return [
        Unit(
            hashlib.sha256(f"{row['key']}\0{row['text']}".encode()).hexdigest(),
            (row["key"],),
            columns=columns,
            fields={"text": row["text"]},
        )
        for row in rows
    ]


def import_batch(task: BatchTask) -> BatchDone:
    """One batch: the texts as they came. Runs on a worker."""
    return finish_batch(task, _captions)


def _captions(task: BatchTask) -> list[Caption]:
    column = task.engine.profile.caption_column
    captions = []
    for unit in task.units:
        text = " ".join(unit.fields["text"].split())
        if any(char.isalnum() for char in text):
            captions.append(Caption(text, "imported"))
        else:
            missing = f"the drop brought no {column} for it"
            captions.append(Caption(None, None, reason="no_imported_caption", detail=missing))
    return captions
