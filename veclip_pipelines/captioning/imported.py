"""Captions that a drop brought along, as captions of an imported engine: mixed and audited like our own.

Recap-DataComp's re_caption, LAION-COCO's top_caption, CapsFusion's and VeCap-300M's captions stand in raw_crawl's column
``captions``; an engine profile of kind ``imported`` names one of them. No model is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from veclip_pipelines.captioning.plan import Unit
from veclip_pipelines.captioning.results import Caption
from veclip_pipelines.captioning.stage import StageResult, Work, run_stage
from veclip_pipelines.captioning.stage_progress import Report, no_report
from veclip_pipelines.compute.fanout import Runner
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.schemas.crawl_schemas import VECAP
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.warehouse import Warehouse

_CAPTION = "list_filter(captions, lambda c: c.name = $column)[1].text"
#: One unit a row: its text is part of its hash, as it is not made from the picture but came with the sample.
_UNITS = f"""
    SELECT sha256(key || chr(0) || text) AS input_hash, [key] AS keys, NULL::VARCHAR AS shard_uri, NULL::BIGINT AS image_offset,
           NULL::BIGINT AS image_length, NULL::VARCHAR AS image_sha256, text AS alt_text, '' AS concept, NULL::VARCHAR AS unrelated
    FROM (SELECT {{key}} AS key, coalesce(first({_CAPTION} ORDER BY {_CAPTION} IS NULL, sample_id), '') AS text FROM raw_crawl
          WHERE crawl_partition = $partition AND outcome = '{KEPT}' GROUP BY {{key}})
    ORDER BY key"""  # noqa: S608


def import_partition(
    warehouse: Warehouse,
    spec: TableSpec,
    engine: EngineSpec,
    crawl_partition: str,
    runner: Runner,
    *,
    properties: Mapping[str, str],
    report: Report = no_report,
) -> StageResult:
    """Writes the captions that a partition's samples brought along into a table of captions.

    Args:
        spec: VECAP, a row a sample; or CONCEPT_CAPTIONS, a row a picture: where its samples brought different captions, that
            of the smallest sample_id counts, and all of them stay in raw_crawl.
    """
    parameters = {"column": engine.profile.caption_column, "partition": crawl_partition}
    columns = {"concept_engine_id": None} if spec is VECAP else {}
    work = Work(
        warehouse, spec, engine, crawl_partition, _UNITS.format(key=spec.keys[0]), parameters, ("raw_crawl",), import_units,
        columns,
    )  # fmt: skip
    return run_stage(work, runner, properties=properties, report=report)


def import_units(spec: EngineSpec, units: Sequence[Unit]) -> list[Caption]:
    """The captions of one batch as they came."""
    captions = []
    for unit in units:
        text = " ".join(unit.alt_text.split())
        if any(char.isalnum() for char in text):
            captions.append(Caption(text, "imported"))
        else:
            missing = f"the drop brought no {spec.profile.caption_column} for it"
            captions.append(Caption(None, None, reason="no_imported_caption", detail=missing))
    return captions
