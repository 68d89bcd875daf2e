"""The check of an audit that Dagster's materialisations, the provenance table and the tables tell the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from veclip_pipelines.audit.audited import Audited, Finding
from veclip_pipelines.stages import STAGES
from veclip_pipelines.tables.provenance import materialisations


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
    noted = {(one.asset, one.partition): one for one in materialisations(about.ask, newest="partition")}
    dagster = {(one.asset, one.partition): one for one in told}
    for key in sorted(noted.keys() | dagster.keys()):
        about.look()
        where, made, seen = "/".join(key), noted.get(key), dagster.get(key)
        if made is None:
            yield Finding("materialisations", where, "Dagster has a materialisation that the provenance lacks")
            continue
        if made.is_retirement:
            continue  # Dagster keeps the materialisations of a retired partition
        if seen is None:
            yield Finding("materialisations", where, "the provenance has a materialisation that Dagster lacks")
        elif seen.data_version != made.data_version:
            what = f"Dagster's data version is {seen.data_version}, the provenance's {made.data_version}"
            yield Finding("materialisations", where, what)
        elif seen.rows_kept not in (None, made.rows_kept):
            what = f"Dagster counts {seen.rows_kept} rows kept, the provenance {made.rows_kept}"
            yield Finding("materialisations", where, what)
        stage = STAGES.get(made.asset)
        # What an older version of the code made has other columns, and is stale for that.
        if stage is not None and stage.code_version == made.code_version and (part := made.part) is not None:
            present, _ = about.contents.of(stage.table, part)
            if present != made.data_version:
                what = f"the table's content is {present}, and the newest materialisation noted {made.data_version}"
                yield Finding("materialisations", where, what)
