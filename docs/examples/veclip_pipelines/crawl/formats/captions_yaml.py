"""Pictures with one captions.yaml, {file name: text}."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from veclip_pipelines.crawl.formats.base import DropFormat, Entry, Sources, join
from veclip_pipelines.crawl.formats.listing import Listing
from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.storage import open_text

_NAME = "captions.yaml"


def detect(listing: Listing) -> Sources | None:
    """A captions.yaml in the folder itself. Raises UsageError where it is no mapping."""
    if _NAME not in listing.paths:
        return None
    return Sources((_NAME,), len(_texts(listing.at(_NAME))))


def read_entries(drop_uri: str, path: str) -> Iterator[Entry]:
    """Each pair as an entry; one whose text is no text is rejected, and says so."""
    for name, text in _texts(join(drop_uri, path)).items():
        if isinstance(text, str):
            yield Entry(name, None, text, picture_path=name)
        else:
            yield Entry(name, None, "", fault=("malformed_row", f"the text is {type(text).__name__}"))


def _texts(uri: str) -> dict[str, object]:
    try:
        with open_text(uri) as file:
            found = yaml.safe_load(file)
    except yaml.YAMLError as error:
        raise UsageError(f"{uri} is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{uri} is no mapping of file names and texts")
    return {str(name): text for name, text in found.items()}


CAPTIONS_YAML = DropFormat("captions-yaml", "listed", detect, read_entries)
