"""The check of an audit that Dagster's materialisations, the provenance table and the tables tell the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from veclip_pipelines.audit.audited import Audited, Finding
from veclip_pipelines.captioning import concept, fusion
from veclip_pipelines.crawl import duplicates, index
from veclip_pipelines.mixing import training_set
from veclip_pipelines.mixing.training_set import set_version_of
from veclip_pipelines.schemas.crawl_schemas import TABLES
from veclip_pipelines.tables.provenance import RETIRED

CODE = {
    "raw_crawl": index.CODE_VERSION,
    "concept_captions": concept.CODE_VERSION,
    "vecap": fusion.CODE_VERSION,
    "duplicates": duplicates.CODE_VERSION,
    "training_sets": training_set.CODE_VERSION,
}


@dataclass(frozen=True)
class Materialised:
    """What Dagster knows of a partition's newest materialisation.

    Attributes:
        partition: "all" for an asset without partitions. rows_kept: None where it does not say.
    """

    asset: str
    partition: str
    data_version: str
    rows_kept: int | None


def check_materialisations(about: Audited, told: Sequence[Materialised]) -> Iterator[Finding]:
    """Each partition's newest materialisation has the same data version and rows in Dagster and in the provenance, and the table
    holds the content of that version."""
    noted = {(row["asset"], row["partition"]): row for row in _newest(about)}
    dagster = {(one.asset, one.partition): one for one in told}
    for key in sorted(noted.keys() | dagster.keys()):
        about.look()
        where, row, seen = "/".join(key), noted.get(key), dagster.get(key)
        if row is None:
            yield Finding("materialisations", where, "Dagster has a materialisation that the provenance lacks")
            continue
        if row["code_version"] == RETIRED:
            continue  # Dagster keeps the materialisations of a partition that was taken out of use
        if seen is None:
            yield Finding("materialisations", where, "the provenance has a materialisation that Dagster lacks")
        elif seen.data_version != row["data_version"]:
            what = f"Dagster's data version is {seen.data_version}, the provenance's {row['data_version']}"
            yield Finding("materialisations", where, what)
        elif seen.rows_kept not in (None, row["rows_kept"]):
            what = f"Dagster counts {seen.rows_kept} rows kept, the provenance {row['rows_kept']}"
            yield Finding("materialisations", where, what)
        # What an older version of the code made has other columns, and is stale for that.
        if (
            CODE.get(row["asset"], row["code_version"]) == row["code_version"]
            and (partition := _partition(row)) is not None
        ):
            present, _ = about.contents.of(TABLES[row["asset"]], partition)
            if present != row["data_version"]:
                what = f"the table's content is {present}, and the newest materialisation noted {row['data_version']}"
                yield Finding("materialisations", where, what)


def _newest(about: Audited) -> list[dict[str, Any]]:
    return about.ask(
        "SELECT asset, partition, inputs, data_version, rows_kept, code_version FROM provenance "
        "QUALIFY row_number() OVER (PARTITION BY asset, partition ORDER BY recorded_at DESC) = 1 ORDER BY ALL"
    )


def _partition(row: Mapping[str, Any]) -> dict[str, str] | None:
    """The part of the table that a materialisation wrote; None where it is not a part of its own."""
    inputs = json.loads(row["inputs"])
    match row["asset"]:
        case "raw_crawl":
            return {"crawl_partition": row["partition"]}
        case "concept_captions" | "vecap":
            if not inputs.get("engine"):
                return None
            return {"crawl_partition": row["partition"], "engine_id": inputs["engine"]}
        case "training_sets":
            return {"recipe": row["partition"], "set_version": set_version_of(inputs)}
        case "duplicates":
            return {}
    return None
