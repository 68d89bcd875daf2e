"""A quick look at a JPEG: every byte is decoded, at an eighth of the size and in gray, by libjpeg-turbo itself.

Nearly all of a crawl is plain JPEG, and Pillow takes twice as long for the same. Whatever is not plain (CMYK, several pictures
in one, an orientation, damage of any kind) is left to Pillow, which alone decides what is rejected.
"""

from __future__ import annotations

import numpy as np
import simplejpeg

_PLAIN = ("YCbCr", "Gray", "RGB")
#: The markers of what this look is not for stand in the headers, before the pixels.
_HEADERS = 64 * 1024


def quick_look(data: bytes, side: int, max_pixels: int) -> tuple[int, int, np.ndarray] | None:
    """Width, height and the gray pixels, scaled down as far as both sides stay at least ``side``: uint8 (height, width).

    None where the bytes are no plain JPEG without a fault.
    """
    size = plain_jpeg_size(data, max_pixels)
    if size is None:
        return None
    try:
        gray = simplejpeg.decode_jpeg(
            data, "GRAY", fastdct=True, fastupsample=True, min_height=side, min_width=side, min_factor=1, strict=True
        )
    except ValueError:
        return None
    return *size, gray[:, :, 0]


def plain_jpeg_size(data: bytes, max_pixels: int) -> tuple[int, int] | None:
    """Width and height of a plain JPEG by its headers; None for all else."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    head = data[:_HEADERS]
    if b"Exif\0\0" in head or b"MPF\0" in head:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (width, height) if colours in _PLAIN and width * height <= max_pixels else None
