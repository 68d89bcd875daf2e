"""The provenance table: what each materialisation read and wrote. It decides what is stale.

Dagster's own stale marks skip edges with 100 or more upstream partitions, so they are shown but not relied on.
Which row is newest is decided in one place, :func:`materialisations`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from veclip_pipelines.schemas.crawl_schemas import PROVENANCE
from veclip_pipelines.stages import STAGES
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.tables.data_files import DataFile
from veclip_pipelines.tables.query import Asker, read_rows
from veclip_pipelines.tables.warehouse import Warehouse

#: The code version of a row that records not a materialisation but the retirement of a partition.
RETIRED = "retired"
_ENGINE = "json_extract_string(inputs, '$.engine')"
_COLUMNS = (
    "asset, partition, run_id, inputs, data_version, delta_version, rows_in, rows_kept, rows_rejected, seconds, code_version, "
    "launched_by, guards, recorded_at"
)
_GROUPS = {"partition": "asset, partition", "engine": f"asset, partition, {_ENGINE}"}


@dataclass(frozen=True)
class Provenance:
    """One materialisation.

    Attributes:
        inputs: version of each thing that was read: tables, engines, recipes, code.
        data_version: hash of the rows that were written.
        files: data files that hold the rows; empty for a table that only ever grows, and where they were not requested.
        guards: for captions: rows and how many of them each guard objected to, JSON.
        recorded_at: when it was recorded.
    """

    asset: str
    partition: str
    run_id: str
    inputs: Mapping[str, str]
    data_version: str
    delta_version: int | None
    files: Sequence[DataFile]
    rows_in: int
    rows_kept: int
    rows_rejected: int
    seconds: float
    code_version: str
    launched_by: str
    guards: str | None = None
    recorded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def engine(self) -> str:
        """The engine_id of captions; "" for a partition that was retired, and for anything else."""
        return self.inputs.get("engine", "")

    @property
    def is_retirement(self) -> bool:
        """Whether it records that the partition was retired, and not a materialisation."""
        return self.code_version == RETIRED

    @property
    def part(self) -> dict[str, str] | None:
        """The part of the table that was written; None if it is not a part of its own."""
        stage = STAGES.get(self.asset)
        return None if stage is None or self.is_retirement else stage.part(self.partition, self.inputs)


def record(warehouse: Warehouse, provenance: Provenance) -> None:
    """Records one materialisation, once per run and partition."""
    row = {
        **vars(provenance),
        "inputs": json.dumps(dict(provenance.inputs), sort_keys=True),
        "files": json.dumps([[file.path, file.size, file.rows] for file in provenance.files]),
        "recorded_at": datetime.now(UTC),
    }
    append_new(warehouse, PROVENANCE, [row], properties={"run_id": provenance.run_id})


def materialisations(
    source: Warehouse | Asker,
    *,
    assets: Collection[str] | None = None,
    partitions: Collection[str] | None = None,
    but_partition: str | None = None,
    engine: str | None = None,
    with_guards: bool = False,
    newest: Literal["partition", "engine"] | None = None,
    limit: int | None = None,
    files: bool = False,
) -> list[Provenance]:
    """What was materialised, the newest first.

    Args:
        source: a warehouse, or a connection that has the table.
        assets, partitions, engine, with_guards: only these.
        but_partition: not this one.
        newest: only the newest of each asset's partition, or of each of its engines.
        files: whether the data files are read too, which make up most of the table.
    """
    conditions: list[str] = ["true"]
    parameters: dict[str, object] = {}
    if assets is not None:
        # Name by name: with QUALIFY, DuckDB 2.0.1 returns rows of other assets where a partition column is looked up in a list that
        # is unnested (tests/veclip_pipelines/tables/test_provenance.py). It also leaves out the other assets' files by their paths.
        wanted = {f"asset_{number}": name for number, name in enumerate(assets)}
        conditions.append(f"asset IN ({', '.join(f'${name}' for name in wanted)})" if wanted else "false")
        parameters |= wanted
    if partitions is not None:
        conditions.append("partition IN (SELECT unnest($partitions))")
        parameters["partitions"] = list(partitions)
    if but_partition is not None:
        conditions.append("partition <> $but_partition")
        parameters["but_partition"] = but_partition
    if engine is not None:
        conditions.append(f"{_ENGINE} = $engine")
        parameters["engine"] = engine
    if with_guards:
        conditions.append("guards IS NOT NULL")
    sql = f"SELECT {_COLUMNS}{', files' if files else ''} FROM provenance WHERE {' AND '.join(conditions)}"  # noqa: S608
    if newest is not None:
        sql += f" QUALIFY row_number() OVER (PARTITION BY {_GROUPS[newest]} ORDER BY recorded_at DESC) = 1"
    sql += " ORDER BY recorded_at DESC"
    if limit is not None:
        sql += f" LIMIT {limit}"
    if isinstance(source, Asker):
        return [_provenance(row) for row in source(sql, parameters)]
    return [_provenance(row) for row in read_rows(source, sql, parameters, tables=[PROVENANCE.name])]


def _provenance(row: dict[str, Any]) -> Provenance:
    listed = json.loads(row.pop("files", None) or "[]")
    found = Provenance(**{**row, "inputs": json.loads(row["inputs"])}, files=())
    if not listed:
        return found
    files = tuple(DataFile(path, size, rows, found.part or {}) for path, size, rows in listed)
    return replace(found, files=files)


def latest(source: Warehouse | Asker, asset: str, partition: str) -> Provenance | None:
    """The newest materialisation of an asset's partition, or None."""
    return next(iter(materialisations(source, assets=[asset], partitions=[partition], limit=1)), None)


def newest_engine(source: Warehouse | Asker, asset: str, partition: str) -> str:
    """The engine of a partition's newest captions; "" if there are none."""
    newest = latest(source, asset, partition)
    return newest.engine if newest else ""


@dataclass(frozen=True)
class Recorded:
    """The newest materialisations of some partitions, read once.

    Attributes:
        newest: by asset and partition: the newest of each engine, the newest first.
    """

    newest: Mapping[tuple[str, str], Sequence[Provenance]]

    @classmethod
    def of(cls, warehouse: Warehouse, partitions: Sequence[str]) -> Recorded:
        found: dict[tuple[str, str], list[Provenance]] = {}
        for one in materialisations(warehouse, partitions=partitions, newest="engine"):
            found.setdefault((one.asset, one.partition), []).append(one)
        return cls(found)

    def is_current(self, asset: str, partition: str, inputs: Mapping[str, str]) -> bool:
        """Whether the newest materialisation read exactly these inputs: then a new one would change nothing. For captions, the
        newest by the same engine, as several engines' captions of a partition exist side by side. A retirement counts
        for all of them; it is recorded without an engine.
        """
        for one in self.newest.get((asset, partition), ()):
            if one.engine in (inputs.get("engine", ""), ""):
                return dict(one.inputs) == dict(inputs)
        return False


def is_current(warehouse: Warehouse, asset: str, partition: str, inputs: Mapping[str, str]) -> bool:
    """As :meth:`Recorded.is_current`, of one partition."""
    return Recorded.of(warehouse, [partition]).is_current(asset, partition, inputs)
