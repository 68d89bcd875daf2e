"""All drop formats, in the order in which they are tried on a folder: the most specific first."""

from __future__ import annotations

from veclip_pipelines.crawl.formats.base import DropFormat, Sources
from veclip_pipelines.crawl.formats.common_crawl import COMMON_CRAWL
from veclip_pipelines.crawl.formats.img2dataset_loose import IMG2DATASET_FILES, IMG2DATASET_PARQUET
from veclip_pipelines.crawl.formats.listing import Listing
from veclip_pipelines.crawl.formats.tables import PICTURE_FOLDER, URL_TABLE
from veclip_pipelines.crawl.formats.vecap_json import VECAP_JSON
from veclip_pipelines.crawl.formats.webdataset import IMG2DATASET_WEBDATASET, WEBDATASET
from veclip_pipelines.errors import UsageError

FORMATS: tuple[DropFormat, ...] = (
    COMMON_CRAWL,
    IMG2DATASET_WEBDATASET,
    WEBDATASET,
    IMG2DATASET_FILES,
    IMG2DATASET_PARQUET,
    PICTURE_FOLDER,
    URL_TABLE,
    VECAP_JSON,
)


def format_named(name: str) -> DropFormat:
    """A format by its name in crawl_drops. Raises UsageError if this version does not know it."""
    for known in FORMATS:
        if known.name == name:
            return known
    raise UsageError(f"no drop format is named {name!r}. Known: {', '.join(known.name for known in FORMATS)}.")


def detect_format(listing: Listing) -> tuple[DropFormat, Sources]:
    """The first format that recognises a folder.

    Raises:
        UsageError: none does, or one does but the drop cannot be used; the message says what was looked for.
    """
    for known in FORMATS:
        if sources := known.detect(listing):
            return known, sources
    found = ", ".join(file.path for file in listing.files[:5]) or "nothing"
    raise UsageError(
        f"{listing.uri} is not a crawl drop. Looked for: tars (img2dataset, webdataset), img2dataset's files or parquet output, "
        "pictures with a CSV, TSV, JSONL or Parquet of their texts, such a table with URLs, VeCap-300M's JSON, WARC or WAT. "
        f"Found: {found}."
    )
