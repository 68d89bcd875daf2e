"""A training set as Croissant (MLCommons), the metadata format that data set searches read: what it is, its files, its columns.

Source: docs.mlcommons.org/croissant/docs/croissant-spec.html, version 1.0; checked by mlcroissant's own validation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.reporting.card import Card
from veclip_pipelines.schemas.training_schemas import TRAINING_SETS
from veclip_pipelines.tables.commit import files_of
from veclip_pipelines.tables.warehouse import Warehouse

_TYPES = {"string": "https://schema.org/Text", "double": "https://schema.org/Float"}
_READ = 2**20


def croissant(warehouse: Warehouse, card: Card) -> dict[str, Any]:
    """The set's metadata as JSON-LD. Its data files are named by their place in the warehouse and their SHA-256.

    Raises:
        VeclipError: mlcroissant is not installed, or finds fault with it.
    """
    try:
        import mlcroissant
    except ImportError as error:
        raise VeclipError("Croissant needs mlcroissant: pip install 'veclip-pipelines[report]'") from error
    objects = [
        mlcroissant.FileObject(
            id=name, name=name, content_url=url, encoding_formats=["application/x-parquet"], sha256=sha256, content_size=f"{size} B"
        )
        for name, url, sha256, size in _files(warehouse, card)
    ]  # fmt: skip
    try:
        return _metadata(mlcroissant, card, objects)
    except mlcroissant.ValidationError as error:
        raise VeclipError(f"mlcroissant finds fault with the metadata of {card.subject.name}: {error}") from error


def _metadata(mlcroissant: Any, card: Card, objects: Sequence[Any]) -> dict[str, Any]:
    """Checked as it is made."""
    names = ["samples"] if len(objects) == 1 else [f"samples-{number}" for number in range(len(objects))]
    metadata = mlcroissant.Metadata(
        name=f"{card.subject.recipe}@{card.version}",
        description=_description(card),
        version=f"1.0.0+{card.version}",
        date_published=card.pinned_at,
        license=[row["value"] for row in card.licences if row["value"]] or None,
        distribution=objects,
        record_sets=[
            mlcroissant.RecordSet(
                id=name,
                name=name,
                description=TRAINING_SETS.row,
                fields=[_field(mlcroissant, file.id, field) for field in TRAINING_SETS.file_schema],
            )
            for name, file in zip(names, objects, strict=True)
        ],
    )
    found: dict[str, Any] = metadata.to_json()
    return found


def _field(mlcroissant: Any, file: str, field: pa.Field) -> Any:
    """A column as Croissant has it; lists are repeated fields, and lists of structs have a field for each member."""
    values = field.type.value_type if pa.types.is_list(field.type) else field.type
    extract = {"extract": mlcroissant.Extract(column=field.name)}
    named = {"id": f"{file}/{field.name}", "name": field.name, "description": TRAINING_SETS.descriptions[field.name]}
    named["repeated"] = values is not field.type
    if not pa.types.is_struct(values):
        source = mlcroissant.Source(file_object=file, **extract)
        return mlcroissant.Field(**named, data_types=[_TYPES[str(values)]], source=source)
    members = [
        mlcroissant.Field(
            id=f"{file}/{field.name}/{member.name}",
            name=member.name,
            data_types=[_TYPES[str(member.type)]],
            source=mlcroissant.Source(
                file_object=file, **extract, transforms=[mlcroissant.Transform(json_path=f"$[*].{member.name}")]
            ),
        )
        for member in values.fields
    ]
    return mlcroissant.Field(**named, sub_fields=members)


def _files(warehouse: Warehouse, card: Card) -> Iterator[tuple[str, str, str, int]]:
    """Name, place, SHA-256 and bytes of each data file."""
    partition = {"recipe": card.subject.recipe, "set_version": card.version}
    for file in files_of(warehouse.open(TRAINING_SETS), partition):
        path = warehouse.path(TRAINING_SETS, file.path)
        digest = hashlib.sha256()
        with warehouse.filesystem.open_input_stream(path) as content:
            while part := content.read(_READ):
                digest.update(part)
        yield path.rpartition("/")[2], f"{warehouse.uri(TRAINING_SETS)}/{file.path}", digest.hexdigest(), file.size


def _description(card: Card) -> str:
    shares = ", ".join(
        f"{text.probability:g} {text.source}" + (f" by {text.profile}" if text.profile else "")
        for text in card.parts[0].texts
    )
    left_out = card.counts["rejected"]
    return (
        f"Training set of recipe {card.subject.recipe}: {card.counts['rows']} samples of {len(card.sources)} crawl partitions, "
        f"{left_out} left out by filters. For each sample and epoch one of its texts is drawn: {shares}."
    )
