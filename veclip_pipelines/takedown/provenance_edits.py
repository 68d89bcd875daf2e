"""What a takedown changes in the provenance: captions that lost rows are as new as before, and what was mixed of them is stale.

A caption partition without the rows that its crawl partition lost is exactly what captioning would make of it now, so nothing is
asked of an engine again. Training sets keep the inputs that they had: they are stale, and so is all that was made of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from veclip_pipelines.mixing.training_set import set_version_of
from veclip_pipelines.schemas.crawl_schemas import CONCEPT_CAPTIONS, DUPLICATES, RAW_CRAWL, VECAP
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.schemas.training_schemas import TRAINING_SETS
from veclip_pipelines.tables.commit import files_of
from veclip_pipelines.tables.provenance import Provenance, record
from veclip_pipelines.tables.query import content_version, read_rows
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class Noted:
    """An asset's partition as it is since.

    Attributes:
        partition: "all" of an asset without partitions.
        inputs: asset and version of each input of the same crawl partition that changed with it.
    """

    asset: str
    partition: str
    data_version: str
    rows_kept: int
    rows_rejected: int
    inputs: Mapping[str, str]


@dataclass
class Notes:
    """Writes new rows of the provenance for what a takedown changed; a second time it finds nothing to write."""

    warehouse: Warehouse
    takedown_id: str
    run_id: str

    @property
    def _by(self) -> str:
        return f"takedown {self.takedown_id}"

    def crawl_partitions(self, keys: Iterable[str]) -> list[Noted]:
        """Notes raw_crawl and all captions of some crawl partitions; of several engines the newest is returned, which stays it."""
        noted = []
        for key in sorted(set(keys)):
            newer: dict[str, tuple[str, str]] = {}
            noted += self._note(RAW_CRAWL, key, {"crawl_partition": key}, None, newer, f"raw_crawl/{key}")
            for spec in (CONCEPT_CAPTIONS, VECAP):
                of_engines = []
                for engine in self._engines(spec, key):
                    partition = {"crawl_partition": key, "engine_id": engine}
                    of_engines += self._note(spec, key, partition, engine, newer, f"{spec.name}/{key}/{engine}")
                noted += of_engines[-1:]
        return noted

    def training_sets(self, sets: Iterable[tuple[str, str]]) -> list[Noted]:
        """Notes training sets, by recipe and version, where one is its recipe's newest."""
        noted = []
        for recipe, set_version in sorted(set(sets)):
            made = self._materialisations(TRAINING_SETS, recipe, None)
            if made and set_version_of(json.loads(made[0]["inputs"])) == set_version:
                noted += self._note(TRAINING_SETS, recipe, {"recipe": recipe, "set_version": set_version}, None, {}, "")
        return noted

    def duplicates(self) -> list[Noted]:
        """Notes the groups of duplicates."""
        return self._note(DUPLICATES, "all", {}, None, {}, "")

    def _note(
        self,
        spec: TableSpec,
        key: str,
        partition: Mapping[str, str],
        engine: str | None,
        newer: dict[str, tuple[str, str]],
        name: str,
    ) -> list[Noted]:
        """Notes one partition.

        Args:
            newer: by input, its version before and now; this partition's own is added under ``name``.
        """
        materialisations = self._materialisations(spec, key, engine)
        before = next((row for row in materialisations if row["launched_by"] != self._by), None)
        if before is None:
            return []
        present, rows = content_version(self.warehouse, spec, partition)
        newer[name] = (before["data_version"], present)
        inputs: dict[str, str] = json.loads(before["inputs"])
        changed = {one: newer[one][1] for one, version in inputs.items() if one in newer and newer[one][0] == version}
        inputs |= changed
        kept = self._kept(spec, partition) if "outcome" in spec.schema.names else rows
        newest = materialisations[0]
        # Captions of an engine that went out of use are as they were noted, and stay older than those of the next.
        if newest["data_version"] != present or (changed and json.loads(newest["inputs"]) != inputs):
            table = self.warehouse.open(spec)
            record(
                self.warehouse,
                Provenance(
                    asset=spec.name,
                    partition=key,
                    run_id=self.run_id,
                    inputs=inputs,
                    data_version=present,
                    delta_version=table.version() if table else None,
                    files=files_of(table, partition) if set(partition) == set(spec.partition_by) else (),
                    rows_in=int(before["rows_in"]) if spec is RAW_CRAWL else rows,
                    rows_kept=kept,
                    rows_rejected=rows - kept,
                    seconds=0.0,
                    code_version=before["code_version"],
                    launched_by=self._by,
                    guards=before["guards"],
                ),
            )
        assets = {one.partition("/")[0]: version for one, version in changed.items()}
        return [Noted(spec.name, key, present, kept, rows - kept, assets)]

    def _materialisations(self, spec: TableSpec, key: str, engine: str | None) -> list[dict[str, Any]]:
        """All of a partition, of captions those by one engine, the newest first."""
        return read_rows(
            self.warehouse,
            "SELECT * FROM provenance WHERE asset = $asset AND partition = $partition "
            "AND ($engine IS NULL OR json_extract_string(inputs, '$.engine') = $engine) ORDER BY recorded_at DESC",
            {"asset": spec.name, "partition": key, "engine": engine},
            tables=["provenance"],
        )

    def _engines(self, spec: TableSpec, key: str) -> list[str]:
        """Engines whose captions of a crawl partition were materialised, the newest last."""
        rows = read_rows(
            self.warehouse,
            "SELECT json_extract_string(inputs, '$.engine') AS engine FROM provenance WHERE asset = ? AND partition = ? "
            "AND json_extract_string(inputs, '$.engine') <> '' GROUP BY 1 ORDER BY max(recorded_at), 1",
            [spec.name, key],
            tables=["provenance"],
        )
        return [row["engine"] for row in rows]

    def _kept(self, spec: TableSpec, partition: Mapping[str, str]) -> int:
        where = " AND ".join(f"{column} = ?" for column in partition)
        rows = read_rows(
            self.warehouse,
            f"SELECT count(*) AS n FROM {spec.name} WHERE outcome = '{KEPT}' AND {where}",  # noqa: S608
            list(partition.values()),
            tables=[spec.name],
        )
        return int(rows[0]["n"])
