"""Columns by name: which column of a stranger's table is the URL, the text, or an existing caption.

Names are those of DataComp, LAION-400M/2B/COCO, COYO, Recap-DataComp-1B and CapsFusion, in any case and order; columns not
named here are kept as ``extra``. Recap-DataComp's newer files have more columns than its older ones: reading by position breaks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from veclip_pipelines.crawl.formats.base import Entry
from veclip_pipelines.errors import UsageError

_URL = ("url", "image_url", "img_url", "image")
_TEXT = ("text", "caption", "alt_text", "alt", "alttext", "org_caption", "laion_2b", "title")
_PAGE = ("page_url", "page", "source_url")
_KEY = ("key", "uid", "sample_id", "id")
_PATH = ("file_name", "filename", "filepath", "file", "path", "image_path", "image_file", "image")
#: Captions that somebody else's model made: the column, and what it holds.
CAPTION_COLUMNS = {
    "re_caption": "Recap-DataComp-1B: the picture described by a LLaVA",
    "re_caption_condition_diverse_topk": "Recap-DataComp-1B: described with the AltText in view",
    "top_caption": "LAION-COCO: the best of several BLIP captions",
    "laion_coco": "CapsFusion: the LAION-COCO caption",
    "capsfusion": "CapsFusion: AltText and BLIP caption fused",
    "vecap": "VeCap-300M: AltText and LLaVA caption fused",
}


@dataclass(frozen=True)
class Columns:
    """The name of the column that holds each thing."""

    url: str | None
    text: str | None
    page: str | None
    key: str | None
    path: str | None
    captions: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str], where: str, *, need: str) -> Columns:
        """Finds the columns.

        Args:
            where: the file, for the message.
            need: "url" or "path": what an entry must have to be usable.

        Raises:
            UsageError: the needed column is not among the names.
        """
        by_name = {name.lower(): name for name in reversed(names)}

        def first(candidates: Sequence[str]) -> str | None:
            return next((by_name[name] for name in candidates if name in by_name), None)

        found = cls(
            url=first(_URL[:-1] if need == "path" else _URL),
            text=first(_TEXT),
            page=first(_PAGE),
            key=first(_KEY),
            path=first(_PATH) if need == "path" else None,
            captions=tuple(by_name[name] for name in CAPTION_COLUMNS if name in by_name),
        )
        if getattr(found, need) is None:
            wanted = _URL if need == "url" else _PATH
            raise UsageError(
                f"{where} has no column for the picture's {need}: one of {', '.join(wanted)} was looked for, "
                f"and its columns are {', '.join(names) or 'none'}."
            )
        if found.text is None and not found.captions:
            raise UsageError(
                f"{where} has no column with a text: one of {', '.join((*_TEXT, *CAPTION_COLUMNS))} was looked for, "
                f"and its columns are {', '.join(names)}."
            )
        return found

    def entry(self, row: Mapping[str, Any], number: int) -> Entry:
        """A row as an entry; a row that does not say where its picture is, or not as text, has a fault."""
        used = {self.url, self.text, self.page, self.key, self.path, *self.captions}
        key = row.get(self.key) if self.key else None
        url, path = self._text(row, self.url), self._text(row, self.path)
        missing = not (path if self.path else url)
        return Entry(
            source_key=str(key) if key not in (None, "") else f"{number:09d}",
            url=url,
            alt_text_raw=self._text(row, self.text) or "",
            page_url=self._text(row, self.page),
            picture_path=path,
            fault=("no_picture_named", f"row {number} names no picture") if missing else None,
            captions={name.lower(): text for name in self.captions if (text := self._text(row, name))},
            extra=extra_of(row, used),
        )

    @staticmethod
    def _text(row: Mapping[str, Any], name: str | None) -> str | None:
        value = row.get(name) if name else None
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return value if isinstance(value, str) else None


def captions_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The captions in a row, by their column."""
    return {name: row[name] for name in CAPTION_COLUMNS if isinstance(row.get(name), str)}


def extra_of(row: Mapping[str, Any], known: Container[str | None]) -> dict[str, object]:
    """The columns of a row that have no field of their own."""
    return {name: plain(value) for name, value in row.items() if name not in known and value is not None}


def plain(value: Any) -> object:
    """A value in JSON's types: what JSON lacks (times, decimals, bytes, not-a-number) becomes text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, date | datetime | Decimal):
        return str(value)
    return str(value)


def extra_json(extra: Mapping[str, object]) -> str | None:
    """The extra columns in the form in which a row keeps them."""
    return json.dumps(extra, ensure_ascii=False, sort_keys=True) if extra else None
