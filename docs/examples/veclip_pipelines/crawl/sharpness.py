"""Sharpness: how much the edges of a picture differ."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import ImageFilter, ImageStat

from veclip_pipelines.media.pictures import PictureError, decode
from veclip_pipelines.media.shards import ByteRange, read_range
from veclip_pipelines.schemas.shared_columns import KEPT, REJECTED
from veclip_pipelines.stages import SHARPNESS, version_of
from veclip_pipelines.tables.commit import Commit, partition_files, replace_partition
from veclip_pipelines.tables.data_files import table_of, write_file
from veclip_pipelines.tables.query import read_rows
from veclip_pipelines.tables.warehouse import Warehouse

_PICTURES = (
    "SELECT image_sha256, min({'uri': shard_uri, 'at': image_offset, 'length': image_length}) AS place FROM raw_crawl "
    "WHERE crawl_partition = ? AND outcome = 'kept' GROUP BY image_sha256 ORDER BY place"
)


def measure_partition(
    warehouse: Warehouse, key: str, inputs: Mapping[str, str], *, properties: Mapping[str, str]
) -> tuple[int, Commit]:
    """Measures each kept picture of a crawl partition, and replaces the partition's rows; their number and the commit."""
    part = {"crawl_partition": key}
    expected = partition_files(warehouse.open(SHARPNESS.table), part)
    pictures = read_rows(warehouse, _PICTURES, [key], tables=["raw_crawl"])
    rows = [{"image_sha256": row["image_sha256"], **_measured(ByteRange(*row["place"].values()))} for row in pictures]
    # Named by what it is made from: a run that finds the file there takes it as it is.
    file = write_file(
        warehouse, SHARPNESS.table, part, f"sharpness-{version_of(inputs)}", table_of(SHARPNESS.table, rows)
    )
    return len(rows), replace_partition(
        warehouse, SHARPNESS.table, part, [file], expected=expected, properties=properties
    )


def _measured(place: ByteRange) -> dict[str, object]:
    try:
        edges = decode(read_range(place)).convert("L").filter(ImageFilter.FIND_EDGES)
    except PictureError as error:
        return {"outcome": REJECTED, "reason": error.reason, "detail": error.detail}
    return {"outcome": KEPT, "sharpness": ImageStat.Stat(edges).stddev[0]}
