"""VeCap-300M, the paper's release: files ``wit_300m-NN-of-10.json``, each ONE JSON object {url: caption} of 30 million entries.

No AltText and no ids. Read as a stream, so memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Iterator

import ijson

from veclip_pipelines.crawl.formats.base import DropFormat, Entry, Sources, join
from veclip_pipelines.crawl.formats.listing import Listing
from veclip_pipelines.errors import UsageError
from veclip_pipelines.media.storage import open_file

#: Bytes read at a time. If a file breaks off, the entries parsed from the last such piece are lost too.
_READ_BYTES = 4096


def detect(listing: Listing) -> Sources | None:
    """JSON files and no other data; each must begin as an object whose first value is a text."""
    files = listing.ending(".json", ".json.gz")
    if not files:
        return None
    for path in files:
        try:
            entry = next(read_entries(listing.uri, path), None)
        except (OSError, EOFError) as error:
            raise UsageError(f"{listing.at(path)} cannot be read: {error}") from error
        if entry is None or entry.fault is not None:
            raise UsageError(
                f"{listing.at(path)} is not in VeCap-300M's form, one JSON object of URL and caption: "
                f"{entry.fault[1] if entry and entry.fault else 'it is empty'}"
            )
    return Sources(tuple(files), None, "vecap-300m")


def read_entries(drop_uri: str, path: str) -> Iterator[Entry]:
    """Each pair as an entry. If the file breaks off or is not JSON, a last entry says so, and those before it are kept."""
    number = 0
    with open_file(join(drop_uri, path), compression="infer") as file:
        try:
            for number, (url, caption) in enumerate(
                ijson.kvitems(file, "", use_float=True, buf_size=_READ_BYTES), start=1
            ):
                key = f"{number - 1:09d}"
                if isinstance(caption, str):
                    yield Entry(key, url, "", captions={"vecap": caption})
                else:
                    yield Entry(
                        key, url, "", fault=("malformed_row", f"the value is no text but {type(caption).__name__}")
                    )
        except (ijson.JSONError, UnicodeDecodeError) as error:
            detail = f"the JSON breaks off after {number} entries: {type(error).__name__}"
            yield Entry(f"{number:09d}-end", None, "", fault=("broken_source", detail))


VECAP_JSON = DropFormat("vecap-json", "listed", detect, read_entries)
