"""Texts of strangers: cleaning, and what can be told from the text alone.

AltText is never executed, never rendered as HTML and never an instruction: here it only loses what no reader sees.
"""

from __future__ import annotations

import html
import re
import unicodedata

import ftfy

MAX_ALT_TEXT = 2_000

_ROUNDS = 12
# &amp;amp;amp;lt; is a lt that was escaped again and again: one pass undoes all of it.
_ESCAPED_AGAIN = re.compile(r"&(?:amp;|#0*38;|#x0*26;)+", re.IGNORECASE)
# Zero-width characters, bidi marks and the byte order mark; ZWJ (200D) goes too, as no AltText needs joined emoji.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_EXTENSIONS = r"(?:jpe?g|png|gif|webp|avif|bmp|tiff?|svg|heic|mp4|pdf)"
_CAMERA = r"(?:img|dscn?|dscf|dji|pict?|pxl|gopr|p10\d|mvc|sam|screenshot|screen[ _-]shot|image|photo|untitled|scan)"
_FILE_NAME = re.compile(rf"(?<![\w.])[\w%()+~@-][\w%()+~@.-]*\.{_EXTENSIONS}\b", re.IGNORECASE)
_CAMERA_NAME = re.compile(rf"\b{_CAMERA}[ _-]?\d{{2,}}(?:[ _-]\d+)*\b", re.IGNORECASE)
_SKU = re.compile(
    r"(?i:\b(?:sku|art(?:ikel)?[.-]*\s?n(?:r|o)|item|model|ref|ean|isbn|mpn)\s*[.:#-]+\s*[\w-]*\d[\w-]*)"
    r"|(?i:\bsku\s+[\w-]*\d[\w-]*)"
    r"|(?:\b(?=[A-Z0-9-]*\d)(?=[A-Z0-9-]*[A-Z])[A-Z0-9]+(?:-[A-Z0-9]+)+\b)"
    r"|(?:\b[A-Z]{1,4}\d{4,}\w*\b)"
    r"|(?:#\d{3,}\b)",
)
_PRICE = re.compile(
    r"[$€£¥]\s?\d[\d.,]*|\b\d[\d.,]*\s?(?:[$€£¥]|USD|EUR|GBP)|\b\d{1,2}\s?%\s?(?:off|discount)\b",
    re.IGNORECASE,
)
_SHOP_TALK = re.compile(
    r"\b(?:free shipping|buy now|best price|in stock|on sale|sale|discount|stock photo|royalty[- ]free|wallpaper hd|"
    r"shop online|add to cart|click to enlarge)\b!*",
    re.IGNORECASE,
)
_LOOSE_ENDS = re.compile(r"^[\s|,;:/–—-]+|[\s|,;:/–—-]+$")


def clean_alt_text(raw: str) -> str:
    """The AltText as a reader would see it, by steps in a fixed order.

    Undo mojibake and entities (bounded), drop control and zero-width characters, fold white space, cap the length.
    Idempotent: cleaning a cleaned text changes nothing.
    """
    text = raw.encode("utf-8", "replace").decode("utf-8")
    for _ in range(_ROUNDS):
        cleaned = _clean_once(text)
        if cleaned == text:
            break
        text = cleaned
    return text


def _clean_once(text: str) -> str:
    text = ftfy.fix_text(html.unescape(_ESCAPED_AGAIN.sub("&", text)), unescape_html=False, normalization="NFC")
    text = _INVISIBLE.sub("", text)
    text = "".join(" " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text)
    text = " ".join(text.split())
    return text[:MAX_ALT_TEXT].rstrip()


def is_file_name(text: str) -> bool:
    """Whether a text is nothing but a file name (IMG_2041.jpg, DSC00012, holiday-04.png)."""
    rest = _CAMERA_NAME.sub("", _FILE_NAME.sub("", text))
    return bool(text.strip()) and not any(char.isalnum() for char in rest)


def has_file_name(text: str) -> bool:
    """Whether a file name stands anywhere in a text."""
    return bool(_FILE_NAME.search(text) or _CAMERA_NAME.search(text))


def has_product_code(text: str) -> bool:
    """Whether a SKU, an article number or a price stands anywhere in a text."""
    return bool(_SKU.search(text) or _PRICE.search(text))


def descriptive_part(text: str) -> str:
    """What is left of an AltText without file names, product codes, prices and shop talk; may be empty."""
    for pattern in (_FILE_NAME, _CAMERA_NAME, _SKU, _PRICE, _SHOP_TALK):
        text = pattern.sub(" ", text)
    text = re.sub(r"\(\s*\)|\[\s*\]", " ", text)
    parts = [_LOOSE_ENDS.sub("", part) for part in re.split(r"\s[|–—-]\s|\s\|\s?|\|", text)]
    joined = ", ".join(part for part in parts if any(char.isalnum() for char in part))
    return _LOOSE_ENDS.sub("", re.sub(r"\s+([,;:])", r"\1", " ".join(joined.split())))


def flags_of(alt_text: str) -> list[str]:
    """What a recipe may filter on, told from the clean AltText alone."""
    if not alt_text:
        return ["empty"]
    return ["file_name"] if is_file_name(alt_text) else []
