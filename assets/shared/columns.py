"""Column schemas and column lineage, from the tables' own schemas."""

import dagster as dg

from veclip_pipelines.schemas.column_lineage import COLUMN_LINEAGE
from veclip_pipelines.schemas.spec import TableSpec


def column_schema(spec: TableSpec) -> dg.TableSchema:
    """The table's columns: type, description and whether they may be null."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=field.name,
                type=str(field.type),
                description=spec.descriptions[field.name],
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in spec.schema
        ]
    )


def column_lineage(spec: TableSpec) -> dg.TableColumnLineage:
    """The upstream columns that each column is made from."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=dg.AssetKey(asset), column_name=name) for asset, name in sources]
            for column, sources in COLUMN_LINEAGE.get(spec.name, {}).items()
        }
    )


def table_metadata(spec: TableSpec) -> dict[str, object]:
    """Metadata that a table asset carries before it is ever materialised."""
    return {
        "dagster/column_schema": column_schema(spec),
        "dagster/column_lineage": column_lineage(spec),
        "dagster/table_name": spec.name,
        "one_row_is": spec.row,
    }
