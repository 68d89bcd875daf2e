"""The provenance table: what each materialisation read and wrote. It decides what is stale.

Dagster's own stale marks skip edges with 100 or more upstream partitions, so they are shown but not relied on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.tables.data_files import DataFile
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.schemas import PROVENANCE
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


def is_current(warehouse: Warehouse, asset: str, partition: str, inputs: Mapping[str, str]) -> bool:
    """Whether the newest materialisation read exactly these inputs: then a new one would change nothing.

    Of captions, the newest by the same engine: several engines' captions of a partition stand side by side. That a
    partition was retired counts for all of them; it is noted without an engine.
    """
    rows = read_rows(
        warehouse,
        "SELECT inputs FROM provenance WHERE asset = $asset AND partition = $partition "
        "AND (json_extract_string(inputs, '$.engine') IS NOT DISTINCT FROM $engine "
        "OR json_extract_string(inputs, '$.engine') = '') ORDER BY recorded_at DESC LIMIT 1",
        {"asset": asset, "partition": partition, "engine": inputs.get("engine")},
        tables=["provenance"],
    )
    return bool(rows) and rows[0]["inputs"] == _as_json(inputs)


def _as_json(inputs: Mapping[str, str]) -> str:
    return json.dumps(dict(inputs), sort_keys=True)
