"""Pins: the data files that a training set was made from, kept so that it can be made again and its pictures found.

They are files and not only Delta versions, as a table's log is cut (tables/log.py) and its data files are not: vacuum and
pruning ask :func:`pinned_files` first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.schemas.crawl_schemas import TABLES
from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.schemas.training_schemas import SET_PINS
from veclip_pipelines.tables.commit import append_new, files_of
from veclip_pipelines.tables.query import connect, read_rows, view_of_files
from veclip_pipelines.tables.warehouse import Warehouse


@dataclass(frozen=True)
class TablePin:
    """A table as a training set read it.

    Attributes:
        version: the table's Delta version then.
        files: data files that hold what was read, relative to the table.
    """

    version: int
    files: tuple[str, ...]


@dataclass(frozen=True)
class SetPins:
    """All that a set was made from.

    Attributes:
        mix: parts and texts of the recipe, JSON.
        inputs: version of each input.
        content_version: hash of the rows that were made.
    """

    recipe: str
    set_version: str
    mix: str
    inputs: Mapping[str, str]
    tables: Mapping[str, TablePin]
    content_version: str


def pin_table(warehouse: Warehouse, spec: TableSpec, partitions: Iterable[Mapping[str, str]]) -> TablePin:
    """Some partitions of a table as they are now."""
    table = warehouse.open(spec)
    wanted = list(partitions)
    present = files_of(table, {})
    files = [file.path for file in present if any(part.items() <= file.partition.items() for part in wanted)]
    return TablePin(table.version() if table is not None else -1, tuple(files))


def write_pins(warehouse: Warehouse, pins: SetPins, *, properties: Mapping[str, str]) -> None:
    """Writes a set's pins, once."""
    row: dict[str, object] = {
        "recipe": pins.recipe,
        "set_version": pins.set_version,
        "mix": pins.mix,
        "inputs": json.dumps(dict(pins.inputs), sort_keys=True),
        "files": json.dumps({name: {"version": pin.version, "files": pin.files} for name, pin in pins.tables.items()}),
        "content_version": pins.content_version,
        "pinned_at": datetime.now(UTC),
        "run_id": properties.get("run_id"),
    }
    append_new(warehouse, SET_PINS, [row], properties=properties)


def read_pins(warehouse: Warehouse, recipe: str, set_version: str) -> SetPins:
    """A set's pins. Raises VeclipError where there is no such set."""
    rows = read_rows(
        warehouse,
        "SELECT * FROM set_pins WHERE recipe = ? AND set_version = ?",
        [recipe, set_version],
        tables=["set_pins"],
    )
    if not rows:
        raise VeclipError(f"there is no training set {set_version} of recipe {recipe!r}")
    row = rows[0]
    tables = {name: TablePin(pin["version"], tuple(pin["files"])) for name, pin in json.loads(row["files"]).items()}
    return SetPins(recipe, set_version, row["mix"], json.loads(row["inputs"]), tables, row["content_version"])


def connect_pinned(
    warehouse: Warehouse, tables: Mapping[str, TablePin], also: Iterable[str] = ()
) -> duckdb.DuckDBPyConnection:
    """A connection to tables as they were pinned, and to others as they are.

    Raises:
        VeclipError: a pinned file is gone.
    """
    connection = connect(warehouse, also)
    for name, pin in tables.items():
        try:
            view_of_files(connection, warehouse, TABLES[name], pin.files)
        except (duckdb.IOException, OSError) as error:
            raise VeclipError(
                f"table {name} lost files that a training set pins (Delta version {pin.version}): {error}. "
                "Was it vacuumed by another tool?"
            ) from error
    return connection


def pinned_connection(
    warehouse: Warehouse, recipe: str, set_version: str, tables: Iterable[str], *, also: Iterable[str] = ()
) -> duckdb.DuckDBPyConnection:
    """A connection to the tables that a set was made from, as it pins them."""
    pins = read_pins(warehouse, recipe, set_version)
    return connect_pinned(warehouse, {name: pins.tables[name] for name in tables}, also)


def pinned_files(warehouse: Warehouse) -> dict[str, set[str]]:
    """The data files of each table that some training set pins: what vacuum and pruning must keep."""
    found: dict[str, set[str]] = {}
    for row in read_rows(warehouse, "SELECT files FROM set_pins", tables=["set_pins"]):
        for name, pin in json.loads(row["files"]).items():
            found.setdefault(name, set()).update(pin["files"])
    return found
