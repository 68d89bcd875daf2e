"""The warehouse: a folder or bucket of Delta tables, as a plain object that works without Dagster."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow.fs as pafs
from deltalake import CommitProperties, DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from veclip_pipelines.errors import UsageError, VeclipError
from veclip_pipelines.schemas.spec import TableSpec

#: Table property: not all of its files have all of its columns.
WIDENED = "veclip.widened"
#: A checkpoint every ten commits, as opening a table replays the log from the last one; and no statistics of columns, which
#: our files do not carry and which cost as much to replay as all the rest (measured: bench partition-cost).
PROPERTIES = {"delta.checkpointInterval": "10", "delta.dataSkippingNumIndexedCols": "0"}
_PARTITION_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")


def check_partition_key(key: str) -> str:
    """Returns the key, or raises UsageError: partition keys become folder names."""
    if not _PARTITION_KEY.fullmatch(key):
        raise UsageError(
            f"partition key {key!r} will not do: use 1 to 128 letters, digits, '.', '_' and '-', "
            "and do not begin with '.' or '-'"
        )
    return key


@dataclass(frozen=True)
class Warehouse:
    """Delta tables under one root.

    Attributes:
        root: an absolute folder or a URI (s3://, gs://, abfs://).
        storage_options: what object_store needs to reach the root (credentials, endpoint), empty for a folder.
    """

    root: str
    storage_options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, root: str, storage_options: Mapping[str, str] | None = None) -> Warehouse:
        """Opens a root given by a person: a relative folder becomes absolute."""
        if not _SCHEME.match(root):
            root = str(Path(root).expanduser().resolve())
        return cls(root.rstrip("/"), dict(storage_options or {}))

    @property
    def is_local(self) -> bool:
        return not _SCHEME.match(self.root)

    @cached_property
    def filesystem(self) -> pafs.FileSystem:
        """The Arrow filesystem of the root; paths on it come from :meth:`path`."""
        return pafs.LocalFileSystem() if self.is_local else pafs.FileSystem.from_uri(self.root)[0]

    def path(self, spec: TableSpec, relative: str = "") -> str:
        """Path of a table, or of a file in it, on :attr:`filesystem`."""
        return "/".join(part for part in (self.folder(spec.name), relative) if part)

    def folder(self, relative: str) -> str:
        """Path of any folder of the warehouse on :attr:`filesystem`."""
        base = self.root if self.is_local else pafs.FileSystem.from_uri(self.root)[1]
        return f"{base}/{relative}"

    def uri(self, spec: TableSpec) -> str:
        return f"{self.root}/{spec.name}"

    def open(self, spec: TableSpec) -> DeltaTable | None:
        """The table at its newest version, or None where nothing was written yet."""
        try:
            return DeltaTable(self.uri(spec), storage_options=dict(self.storage_options) or None)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise VeclipError(f"cannot read table {spec.name} in warehouse {self.root}: {error}") from error

    def ensure(self, spec: TableSpec) -> DeltaTable:
        """The table, created empty with its explicit schema where it is missing.

        Raises:
            VeclipError: the warehouse cannot be written.
        """
        table = self.open(spec)
        if table is None:
            try:
                DeltaTable.create(
                    self.uri(spec),
                    schema=spec.schema,
                    partition_by=list(spec.partition_by) or None,
                    mode="error",
                    name=spec.name,
                    description=f"one row: {spec.row}",
                    configuration=PROPERTIES,
                    storage_options=dict(self.storage_options) or None,
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except (CommitFailedError, DeltaError, OSError) as error:
                # A rival that created it first is no error; anything else is, and then it still cannot be opened.
                table = self.open(spec)
                if table is None:
                    raise not_writable(self.root, error) from error
            else:
                table = self.open(spec)
        assert table is not None
        self._bring_up_to_date(spec, table)
        return table

    def _bring_up_to_date(self, spec: TableSpec, table: DeltaTable) -> None:
        """Gives a table that an older version of this program made the columns and properties of this one."""
        present = {field.name for field in table.schema().fields}
        if not present_properties(table):
            with contextlib.suppress(DeltaError):  # a rival sets the same
                table.alter.set_table_properties(PROPERTIES)
        missing = [field for field in DeltaSchema.from_arrow(spec.schema).fields if field.name not in present]
        if not missing:
            return
        try:
            table.alter.add_columns(missing)
            # Files that were written before lack them: whoever reads must look for columns by name, file by file.
            table.alter.set_table_properties({WIDENED: "true"}, raise_if_not_exists=False)
        except (DeltaError, OSError) as error:
            table.update_incremental()  # a rival may have added them
            if not {field.name for field in missing} <= {field.name for field in table.schema().fields}:
                raise not_writable(self.root, error) from error


def present_properties(table: DeltaTable) -> bool:
    """Whether a table has the properties that new ones get."""
    found = table.metadata().configuration
    return all(found.get(name) == value for name, value in PROPERTIES.items())


def not_writable(root: str, error: BaseException) -> VeclipError:
    """One wording for a warehouse that is full, read-only or not there."""
    return VeclipError(
        f"cannot write to the warehouse {root}: {error}. Nothing of this step was committed. "
        "Free space or set VECLIP_WAREHOUSE to a place that can be written, then run it again."
    )
