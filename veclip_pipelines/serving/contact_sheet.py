"""The contact sheet: pictures with AltText, concept caption and VeCap side by side, drawn as one PNG.

Drawn, not written as HTML: a stranger's text in a picture cannot do anything.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from veclip_pipelines.media.pictures import PictureError, decode
from veclip_pipelines.serving.shown_samples import ShownSample

_THUMBNAIL, _PAD, _COLUMN, _LINE, _LINES = 96, 10, 158, 17, 5
# As wide as the metadata pane of the Dagster UI shows without scrolling.
_HEADINGS = ("AltText", "concept caption", "VeCap")
_INK, _FAINT, _RULE, _PAPER = "#1f2430", "#6b7280", "#d8dce3", "#ffffff"


def contact_sheet(samples: list[ShownSample]) -> bytes:
    """A PNG with one row per sample."""
    width = _THUMBNAIL + 2 * _PAD + 3 * (_COLUMN + _PAD)
    row_height = _THUMBNAIL + 2 * _PAD
    sheet = Image.new("RGB", (width, 30 + max(1, len(samples)) * row_height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, heading in enumerate(_HEADINGS):
        pen.text((_left(column), 8), heading, fill=_FAINT, font=_font(13))
    if not samples:
        pen.text((_PAD, 40), "no kept samples", fill=_FAINT, font=_font(13))
    for row, sample in enumerate(samples):
        top = 30 + row * row_height
        pen.line((0, top, width, top), fill=_RULE)
        sheet.paste(_thumbnail(sample), (_PAD, top + _PAD))
        for column, text in enumerate((sample.alt_text, sample.concept, sample.vecap)):
            lines = _wrap(text, pen) if text else ["(empty)" if column == 0 else "(not made yet)"]
            ink = _INK if text else _FAINT
            for number, line in enumerate(lines):
                pen.text((_left(column), top + _PAD + number * _LINE), line, fill=ink, font=_font(13))
        if sample.route:
            route = f"by {sample.route}" + (f" ({sample.reason})" if sample.reason else "")
            pen.text((_left(2), top + row_height - _PAD - 12), route, fill=_FAINT, font=_font(11))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def thumbnail_jpeg(data: bytes, side: int = 256) -> bytes:
    """A picture made small and re-encoded, so that nothing of a stranger's file but its pixels is served."""
    buffer = io.BytesIO()
    decode(data, max_side=side).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _thumbnail(sample: ShownSample) -> Image.Image:
    frame = Image.new("RGB", (_THUMBNAIL, _THUMBNAIL), "#f3f4f6")
    try:
        picture = decode(sample.picture_bytes(), max_side=_THUMBNAIL)
    except (PictureError, OSError):
        return frame
    frame.paste(picture, ((_THUMBNAIL - picture.width) // 2, (_THUMBNAIL - picture.height) // 2))
    return frame


def _left(column: int) -> int:
    return _THUMBNAIL + 2 * _PAD + column * (_COLUMN + _PAD)


def _wrap(text: str, pen: ImageDraw.ImageDraw) -> list[str]:
    """Lines that fit the column by drawn width; a text that is too long ends in an ellipsis."""
    lines, line = [], ""
    for word in text.split():
        while pen.textlength(word, font=_font(13)) > _COLUMN:
            word = word[: max(1, len(word) // 2)]
        candidate = f"{line} {word}".strip()
        if pen.textlength(candidate, font=_font(13)) <= _COLUMN:
            line = candidate
            continue
        lines.append(line)
        line = word
        if len(lines) == _LINES:
            return [*lines[:-1], lines[-1] + " …"]
    return [*lines, line]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib ships DejaVu Sans, which has Latin, Greek, Cyrillic, Arabic and more.
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
