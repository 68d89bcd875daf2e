"""Content versions of many partitions, for the price of reading them once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from veclip_pipelines.schemas.spec import TableSpec
from veclip_pipelines.tables.query import NO_ROWS, connect, content_versions
from veclip_pipelines.tables.warehouse import Warehouse

#: Hash and number of rows by the values of a table's partition columns, as content_versions gives them.
Versions = Mapping[tuple[str, ...], tuple[str, int]]


@dataclass(frozen=True)
class Contents:
    """The content of partitions as it was when their table was first asked for.

    One by one, each partition costs a look through the log and the files of all: a thousand of them would be a million looks.

    Attributes:
        read: reads a table's versions, at its first question.
        crawl_partitions: those that may be asked for; None for all.
    """

    read: Callable[[TableSpec], Versions]
    crawl_partitions: frozenset[str] | None = None
    _known: dict[str, Versions] = field(default_factory=dict)

    @classmethod
    def of_partitions(cls, warehouse: Warehouse, crawl_partitions: Iterable[str]) -> Contents:
        """The content of some crawl partitions; nothing is read yet."""
        keys = frozenset(crawl_partitions)

        def read(spec: TableSpec) -> Versions:
            with connect(warehouse, [spec.name]) as connection:
                return content_versions(connection, spec, sorted(keys))

        return cls(read, keys)

    def of(self, spec: TableSpec, partition: Mapping[str, str]) -> tuple[str, int]:
        """Hash and number of a partition's rows, as :func:`veclip_pipelines.tables.query.content_version` has them."""
        assert self.crawl_partitions is None or partition["crawl_partition"] in self.crawl_partitions
        if spec.name not in self._known:
            self._known[spec.name] = self.read(spec)
        return self._known[spec.name].get(tuple(partition[name] for name in spec.partition_by), (NO_ROWS, 0))
