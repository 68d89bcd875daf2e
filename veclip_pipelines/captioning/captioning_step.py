"""One captioning step, and one batch of it: what ``stage.py`` runs and ``boilerplate.py`` looks through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from veclip_pipelines.captioning.plan import PlannedBatch, Unit
from veclip_pipelines.captioning.results import Caption
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.data_files import DataFile
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class CaptioningStep:
    """One captioning step of one crawl partition.

    Attributes:
        units: query for the columns of the plan (captioning/plan.py), in the order in which they are cut into batches.
        parameters: its parameters.
        tables: tables that it reads.
        compute: captions for the units of one batch; runs on a worker.
        columns: values that each row of the partition has in addition to its caption.
    """

    warehouse: Warehouse
    spec: TableSpec
    engine: EngineSpec
    crawl_partition: str
    units: str
    parameters: Mapping[str, object]
    tables: tuple[str, ...]
    compute: Callable[[EngineSpec, Sequence[Unit]], list[Caption]]
    columns: Mapping[str, str | None]

    @property
    def partition(self) -> dict[str, str]:
        return {"crawl_partition": self.crawl_partition, "engine_id": self.engine.engine_id}


@dataclass(frozen=True)
class BatchTask:
    """What a worker needs to know for every batch; the batch itself is passed with each call."""

    step: CaptioningStep
    plan: str


@dataclass(frozen=True)
class BatchDone:
    """A finished batch: its file, whether an earlier run had finished it, its rejects and tokens."""

    batch: PlannedBatch
    file: DataFile
    found: bool
    rejected: int
    tokens: int
