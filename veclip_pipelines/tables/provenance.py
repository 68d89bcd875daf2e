"""The provenance table: what each materialisation read and wrote. It decides what is stale.

Dagster's own stale marks skip edges with 100 or more upstream partitions, so they are shown but not relied on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from veclip_pipelines.schemas.crawl_schemas import PROVENANCE
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.tables.data_files import DataFile
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

#: Stands for the code version where nothing was made, but taken out of use.
RETIRED = "retired"


@dataclass(frozen=True)
class Provenance:
    """One materialisation.

    Attributes:
        inputs: version of each thing that was read: tables, engines, recipes, code.
        data_version: hash of the rows that were written.
        files: data files that hold the rows; empty for a table that only ever grows.
        guards: for captions: rows and how many of them each guard objected to, JSON.
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


def record(warehouse: Warehouse, provenance: Provenance) -> None:
    """Writes down one materialisation, once a run and partition."""
    files = json.dumps([[file.path, file.size, file.rows] for file in provenance.files])
    row = {
        **vars(provenance),
        "inputs": _as_json(provenance.inputs),
        "files": files,
        "recorded_at": datetime.now(UTC),
    }
    append_new(warehouse, PROVENANCE, [row], properties={"run_id": provenance.run_id})


def latest(warehouse: Warehouse, asset: str, partition: str) -> dict[str, object] | None:
    """The newest materialisation of an asset's partition, or None."""
    rows = read_rows(
        warehouse,
        "SELECT * FROM provenance WHERE asset = ? AND partition = ? ORDER BY recorded_at DESC LIMIT 1",
        [asset, partition],
        tables=["provenance"],
    )
    return rows[0] if rows else None


@dataclass(frozen=True)
class Recorded:
    """The newest materialisations of some partitions, read once.

    Attributes:
        inputs: by asset and partition, the newest first: engine and inputs, of each engine the newest.
    """

    inputs: Mapping[tuple[str, str], Sequence[tuple[str | None, str]]]

    @classmethod
    def of(cls, warehouse: Warehouse, partitions: Sequence[str]) -> Recorded:
        rows = read_rows(
            warehouse,
            "SELECT asset, partition, json_extract_string(inputs, '$.engine') AS engine, inputs FROM provenance "
            "WHERE partition IN (SELECT unnest(?)) "
            "QUALIFY row_number() OVER (PARTITION BY asset, partition, engine ORDER BY recorded_at DESC) = 1 ORDER BY recorded_at DESC",
            [list(partitions)],
            tables=["provenance"],
        )
        found: dict[tuple[str, str], list[tuple[str | None, str]]] = {}
        for row in rows:
            found.setdefault((row["asset"], row["partition"]), []).append((row["engine"], row["inputs"]))
        return cls(found)

    def is_current(self, asset: str, partition: str, inputs: Mapping[str, str]) -> bool:
        """Whether the newest materialisation read exactly these inputs: then a new one would change nothing.

        Of captions, the newest by the same engine: several engines' captions of a partition stand side by side. That a
        partition was retired counts for all of them; it is noted without an engine.
        """
        for engine, noted in self.inputs.get((asset, partition), ()):
            if engine in (inputs.get("engine"), ""):
                return noted == _as_json(inputs)
        return False


def is_current(warehouse: Warehouse, asset: str, partition: str, inputs: Mapping[str, str]) -> bool:
    """As :meth:`Recorded.is_current`, of one partition."""
    return Recorded.of(warehouse, [partition]).is_current(asset, partition, inputs)


def _as_json(inputs: Mapping[str, str]) -> str:
    return json.dumps(dict(inputs), sort_keys=True)
