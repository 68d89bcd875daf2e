"""Strangers' pictures: what they are, whether they are whole, and their pixels.

A stranger's file is only ever given to the decoders named here, its size is checked before its pixels are decoded,
and whatever a decoder raises becomes a reason code: one bad picture never ends a run.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image, ImageOps

#: A picture with more pixels is rejected without decoding: 8 bytes per pixel would be 0.7 GB.
MAX_PIXELS = 89_478_485
#: The decoders that a stranger's bytes may reach. No vector formats, no PostScript, no plug-ins that start programs.
DECODERS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "MPO")
#: Side to which a JPEG may be scaled down when it is decoded for verification; every byte is still read.
_VERIFY_SIDE = 64
#: EXIF tag of the orientation, and its values that turn a picture on its side.
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
#: JPEG colour spaces that the fast path handles; the markers of what it does not handle come before the pixels.
_PLAIN, _HEADERS = ("YCbCr", "Gray", "RGB"), 64 * 1024
_DCT_SIDE, _HASH_SIDE = 32, 8
#: The lowest rows of the type-II cosine transform, unscaled as scipy.fftpack has it: (8, 32).
_DCT = 2 * np.cos(np.pi * np.outer(np.arange(_HASH_SIDE), 2 * np.arange(_DCT_SIDE) + 1) / (2 * _DCT_SIDE))
_DCT_TURNED = np.ascontiguousarray(_DCT.T)


class PictureError(Exception):
    """The bytes are not a usable picture. ``reason`` is a reason code, ``detail`` says more."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class PictureFacts:
    """What a picture's bytes tell about it; width and height in pixels with the orientation applied."""

    media_type: str
    width: int
    height: int
    phash: str


def examine(data: bytes) -> PictureFacts:
    """Verifies a picture to its last byte.

    Raises:
        PictureError: empty_file, not_a_picture, too_many_pixels or truncated_picture.
    """
    if (seen := quick_look(data, _DCT_SIDE, MAX_PIXELS)) is not None:
        return PictureFacts("image/jpeg", seen[0], seen[1], _hash_of_gray(seen[2]))
    image = _open(data)
    media_type = Image.MIME.get(image.format or "", "application/octet-stream")
    width, height = image.size
    pixels = _pixels(image, draft=_VERIFY_SIDE)
    # Only after it was decoded: reading the orientation of a damaged file raises too.
    if image.getexif().get(_ORIENTATION, 1) in _TURNED:
        width, height = height, width
    return PictureFacts(media_type, width, height, perceptual_hash(pixels))


def quick_look(data: bytes, side: int, max_pixels: int) -> tuple[int, int, np.ndarray] | None:
    """Width, height and the gray pixels of a JPEG, scaled down as far as both sides stay at least ``side``: uint8 (height, width).

    Every byte is decoded by libjpeg-turbo directly: nearly all of a crawl is plain JPEG, and Pillow takes twice as long to do the same.
    None if the bytes are anything but a plain, faultless JPEG (CMYK, several pictures in one, an orientation, damage of any kind):
    those are left to Pillow, which alone decides what is rejected.
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
    """Width and height of a plain JPEG from its headers; None for anything else."""
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


def perceptual_hash(image: Image.Image) -> str:
    """64-bit DCT hash as 16 hex digits: bit for bit imagehash.phash (tested against it), in a tenth of the time.

    Indexing computes it for every picture of a crawl, and imagehash rebuilds its cosine transform each time.
    """
    return _hash_of(np.asarray(image.convert("L").resize((_DCT_SIDE, _DCT_SIDE), Image.Resampling.LANCZOS)))


def _hash_of_gray(gray: np.ndarray) -> str:
    if gray.shape != (_DCT_SIDE, _DCT_SIDE):
        return perceptual_hash(Image.fromarray(np.ascontiguousarray(gray)))
    return _hash_of(gray)


def _hash_of(gray: np.ndarray) -> str:
    """The hash of 32 by 32 gray pixels: which of the 64 lowest frequencies are above their median."""
    low = _DCT @ gray.astype(np.float64) @ _DCT_TURNED
    ordered = np.sort(low, axis=None)
    return np.packbits(low > (ordered[31] + ordered[32]) / 2).tobytes().hex()


def decode(data: bytes, max_side: int | None = None) -> Image.Image:
    """The picture as RGB: first frame, orientation applied, transparency on white.

    Args:
        max_side: scales down so that the longer side has at most this many pixels.

    Raises:
        PictureError: as for :func:`examine`.
    """
    pixels = _pixels(_open(data), draft=max_side)
    if max_side is not None:
        pixels.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)
    return pixels


def _open(data: bytes) -> Image.Image:
    if not data:
        raise PictureError("empty_file", "0 bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=DECODERS)
    except Image.DecompressionBombError as error:
        raise PictureError("too_many_pixels", str(error)) from error
    except Exception as error:
        raise PictureError("not_a_picture", _describe(data)) from error
    if image.width * image.height > MAX_PIXELS:
        raise PictureError("too_many_pixels", f"{image.width} x {image.height}")
    return image


def _pixels(image: Image.Image, draft: int | None) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if draft is not None:
                image.draft(None, (draft, draft))
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, "white")
                return Image.alpha_composite(white, image).convert("RGB")
            if image.mode in ("I;16", "I;16B", "I;16L", "I"):
                # PIL clips 16 bits to 8 instead of scaling them.
                image = image.convert("I").point(lambda value: value / 257).convert("L")
            return image.convert("RGB")
    except Exception as error:
        # Decoders raise OSError, SyntaxError, struct.error, ValueError and more for the same kind of damage.
        raise PictureError("truncated_picture", f"{type(error).__name__}: {error}"[:200]) from error


def _describe(data: bytes) -> str:
    """What the bytes look like instead, without quoting them: they are a stranger's."""
    head = data[:256].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if head.startswith((b"<svg", b"<?xml")):
        return "SVG or XML"
    return f"{len(data)} bytes of no known picture format"
