"""What a table is: name, schema, partitioning and what one row and each column mean."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class TableSpec:
    """A table: its name, its full schema (partition columns last) and what one row is, column by column.

    Attributes:
        lookups: columns of which single values are looked up among all rows: each data file has a bloom filter for each.
        hidden_by: columns by which a tombstone hides a row: sample_id, image_sha256.
    """

    name: str
    row: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    keys: tuple[str, ...]
    lookups: tuple[str, ...]
    hidden_by: tuple[str, ...]
    descriptions: dict[str, str]

    @property
    def file_schema(self) -> pa.Schema:
        """The schema of one Parquet file: Delta keeps partition columns in the path, not in the file."""
        return pa.schema([f for f in self.schema if f.name not in self.partition_by])


def table_spec(
    name: str,
    row: str,
    columns: list[tuple[pa.Field, str]],
    partition_by: tuple[str, ...] = (),
    keys: tuple[str, ...] = (),
    lookups: tuple[str, ...] = (),
    hidden_by: tuple[str, ...] = (),
) -> TableSpec:
    return TableSpec(
        name=name,
        row=row,
        schema=pa.schema([field for field, _ in columns]),
        partition_by=partition_by,
        keys=keys,
        lookups=lookups,
        hidden_by=hidden_by,
        descriptions={field.name: description for field, description in columns},
    )


def text_column(name: str, description: str, *, required: bool = False) -> tuple[pa.Field, str]:
    return pa.field(name, pa.string(), nullable=not required), description
