"""Content versions of many partitions, for the price of reading them once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from veclip_pipelines.tables.query import NO_ROWS, connect, content_versions
from veclip_pipelines.tables.spec import TableSpec
from veclip_pipelines.tables.warehouse import Warehouse


class Contents:
    """The content of some crawl partitions as it was when a table was first asked for.

    One by one, each partition costs a look through the log and the files of all: a thousand of them would be a million looks.
    """

    def __init__(self, warehouse: Warehouse, crawl_partitions: Iterable[str]) -> None:
        """Reads nothing yet.

        Args:
            crawl_partitions: those that may be asked for.
        """
        self._warehouse = warehouse
        self._keys = frozenset(crawl_partitions)
        self._read: dict[str, dict[tuple[str, ...], tuple[str, int]]] = {}

    def of(self, spec: TableSpec, partition: Mapping[str, str]) -> tuple[str, int]:
        """Hash and number of a partition's rows, as :func:`veclip_pipelines.tables.query.content_version` has them."""
        assert partition["crawl_partition"] in self._keys
        if spec.name not in self._read:
            with connect(self._warehouse, [spec.name]) as connection:
                self._read[spec.name] = content_versions(connection, spec, sorted(self._keys))
        return self._read[spec.name].get(tuple(partition[name] for name in spec.partition_by), (NO_ROWS, 0))
