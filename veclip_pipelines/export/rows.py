"""A training set's samples as exports write them: with everything that is known of each, from the tables as the set pins them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from veclip_pipelines.media.shards import ByteRange
from veclip_pipelines.schemas.shared_columns import KEPT
from veclip_pipelines.schemas.takedown_schemas import EXPORTS
from veclip_pipelines.tables.commit import append_new
from veclip_pipelines.tables.pins import pinned_connection
from veclip_pipelines.tables.warehouse import Warehouse

_ROWS = 10_000
#: Format of what is no export: a data card, a trace or a comparison as one HTML file.
PAGE = "page"
_EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


@dataclass(frozen=True)
class ExportedSample:
    """One kept sample.

    Attributes:
        texts: text of each source; of several texts of one source the first.
        probabilities: of each source, summing to 1.
    """

    sample_id: str
    image_sha256: str
    picture: ByteRange
    extension: str
    url: str | None
    uid: str
    width: int
    height: int
    part: str
    weight: float
    texts: dict[str, str]
    probabilities: dict[str, float]


def exported_samples(warehouse: Warehouse, recipe: str, set_version: str) -> Iterator[ExportedSample]:
    """The kept samples of a set by sample_id, which is a hash: so a shard holds a fair part of everything."""
    sql = (
        "SELECT t.sample_id, t.image_sha256, r.shard_uri, r.image_offset, r.image_length, r.media_type, r.url, "  # noqa: S608
        "coalesce(json_extract_string(r.extra, '$.uid'), r.source_key) AS uid, r.width, r.height, coalesce(t.part, 'main') AS part, "
        "coalesce(t.weight, 1.0) AS weight, t.texts, t.probabilities "
        "FROM training_sets t JOIN raw_crawl r ON r.sample_id = t.sample_id AND r.crawl_partition = t.crawl_partition "
        f"WHERE t.recipe = $recipe AND t.set_version = $version AND t.outcome = '{KEPT}' AND r.outcome = '{KEPT}' ORDER BY t.sample_id"
    )
    with pinned_connection(warehouse, recipe, set_version, ["raw_crawl"], also=["training_sets"]) as connection:
        reader = connection.sql(sql, params={"recipe": recipe, "version": set_version}).to_arrow_reader(_ROWS)
        for batch in reader:
            for row in batch.to_pylist():
                texts: dict[str, str] = {}
                probabilities: dict[str, float] = {}
                for text, probability in zip(row["texts"], row["probabilities"], strict=True):
                    texts.setdefault(text["source"], text["text"])
                    probabilities[text["source"]] = probabilities.get(text["source"], 0.0) + probability
                yield ExportedSample(
                    row["sample_id"],
                    row["image_sha256"],
                    ByteRange(row["shard_uri"], row["image_offset"], row["image_length"]),
                    _EXTENSIONS.get(row["media_type"], "jpg"),
                    row["url"],
                    row["uid"],
                    row["width"],
                    row["height"],
                    row["part"],
                    row["weight"],
                    texts,
                    probabilities,
                )


def note_page(warehouse: Warehouse, uri: str, by: str, recipe: str = "", set_version: str = "") -> None:
    """Writes down where a page with pictures and texts in it is about to be written to."""
    note_export(warehouse, recipe, set_version, PAGE, uri, by)


def note_export(warehouse: Warehouse, recipe: str, set_version: str, format_: str, uri: str, by: str) -> None:
    """Writes down where a set is about to be written to: what is taken down later is taken out of there, too."""
    row: dict[str, object] = {
        "recipe": recipe,
        "set_version": set_version,
        "format": format_,
        "uri": uri,
        "exported_at": datetime.now(UTC),
        "exported_by": by,
    }
    append_new(warehouse, EXPORTS, [row], properties={"uri": uri})
