"""Column schemas and column lineage, from the tables' own schemas."""

import dagster as dg

from veclip_pipelines.tables.spec import TableSpec

#: For each asset and column: the (asset, column) that it is made from. Columns that are not named are made anew.
_LINEAGE: dict[str, dict[str, list[tuple[str, str]]]] = {
    "raw_crawl": {},
    "concept_captions": {
        "image_sha256": [("raw_crawl", "image_sha256")],
        "input_hash": [("raw_crawl", "image_sha256")],
        "text": [("raw_crawl", "shard_uri"), ("raw_crawl", "image_offset"), ("raw_crawl", "image_length")],
        "engine_text": [
            ("raw_crawl", "shard_uri"),
            ("raw_crawl", "image_offset"),
            ("raw_crawl", "image_length"),
        ],
        "crawl_partition": [("raw_crawl", "crawl_partition")],
    },
    "vecap": {
        "sample_id": [("raw_crawl", "sample_id")],
        "concept_engine_id": [("concept_captions", "engine_id")],
        "text": [("raw_crawl", "alt_text"), ("concept_captions", "text")],
        "engine_text": [("raw_crawl", "alt_text"), ("concept_captions", "text")],
        "input_hash": [
            ("raw_crawl", "alt_text"),
            ("concept_captions", "text"),
            ("concept_captions", "engine_id"),
        ],
        "route": [("raw_crawl", "alt_text"), ("concept_captions", "text")],
        "crawl_partition": [("raw_crawl", "crawl_partition")],
    },
    "duplicates": {column: [("raw_crawl", column)] for column in ("sample_id", "image_sha256", "phash")}
    | {"group_id": [("raw_crawl", "sample_id"), ("raw_crawl", "phash")], "distance": [("raw_crawl", "phash")]},
    "training_sets": {
        "sample_id": [("raw_crawl", "sample_id")],
        "image_sha256": [("raw_crawl", "image_sha256")],
        "crawl_partition": [("raw_crawl", "crawl_partition")],
        "texts": [("raw_crawl", "alt_text"), ("vecap", "text"), ("concept_captions", "text")],
    },
    "checkpoints": {
        "recipe": [("training_sets", "recipe")],
        "set_version": [("training_sets", "set_version")],
        "weights_sha256": [
            ("training_sets", "texts"),
            ("training_sets", "probabilities"),
            ("raw_crawl", "shard_uri"),
            ("raw_crawl", "image_offset"),
        ],
        "samples": [("training_sets", "sample_id")],
    },
    "benchmark_scores": {
        "checkpoint_id": [("checkpoints", "checkpoint_id")],
        "recipe": [("checkpoints", "recipe")],
        "value": [("checkpoints", "weights_sha256")],
    },
}


def column_schema(spec: TableSpec) -> dg.TableSchema:
    """The table's columns with type, description and whether they may be null."""
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
    """Which upstream columns each column is made from."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=dg.AssetKey(asset), column_name=name) for asset, name in sources]
            for column, sources in _LINEAGE[spec.name].items()
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
