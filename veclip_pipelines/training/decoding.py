"""From a picture's bytes in a shard to the pixels that a tower takes. Neither torch nor transformers is imported here: a
decoding process starts in the time of numpy and Pillow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from veclip_pipelines.errors import VeclipError
from veclip_pipelines.jpeg import plain_jpeg_size
from veclip_pipelines.pictures import MAX_PIXELS, PictureError, decode
from veclip_pipelines.shards import ByteRange, read_range

_RATIOS = (math.log(3 / 4), math.log(4 / 3))


@dataclass(frozen=True)
class Crop:
    """What of a picture is shown: share of its area, ratio of its sides, and where; each drawn from [0, 1)."""

    scale: float
    ratio: float
    left: float
    top: float


@dataclass(frozen=True)
class Wanted:
    """One picture to decode. Without a crop its middle is shown, as in scoring."""

    picture: ByteRange
    crop: Crop | None = None


def load_pictures(wanted: Sequence[Wanted], size: int, crop_scale: float) -> npt.NDArray[np.uint8]:
    """Pixels, shape (pictures, size, size, 3).

    Raises:
        VeclipError: a picture cannot be read any more; it was whole when it was indexed.
    """
    pixels = np.empty((len(wanted), size, size, 3), dtype=np.uint8)
    for place, item in enumerate(wanted):
        try:
            pixels[place] = _pixels(read_range(item.picture), size, item.crop, crop_scale)
        except (PictureError, OSError) as error:
            raise VeclipError(
                f"a picture of the training set cannot be read any more: {item.picture.shard_uri}, {item.picture.length} bytes "
                f"at {item.picture.offset}: {error}. Was its shard moved or changed? Index its crawl partition again."
            ) from error
    return pixels


def _pixels(data: bytes, size: int, crop: Crop | None, crop_scale: float) -> npt.NDArray[np.uint8]:
    image = _decoded(data, size, crop_scale)
    box = _middle(image.size) if crop is None else _random_box(image.size, crop, crop_scale)
    if image.size == (size, size) and box == (0.0, 0.0, float(size), float(size)):
        return np.asarray(image)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box))


def _decoded(data: bytes, size: int, crop_scale: float) -> Image.Image:
    """The picture, a JPEG no larger than is needed: libjpeg-turbo scales while it decodes, at a fraction of the work."""
    if (found := plain_jpeg_size(data, MAX_PIXELS)) is not None:
        # A crop shows a part only: its own side must not be below what is wanted.
        side = math.ceil(size / math.sqrt(crop_scale * 3 / 4)) if crop_scale < 1.0 else size
        try:
            return Image.fromarray(
                simplejpeg.decode_jpeg(data, "RGB", min_height=min(side, found[1]), min_width=min(side, found[0]))
            )
        except ValueError:
            pass  # damage: Pillow says what it is
    return decode(data)


def _middle(size: tuple[int, int]) -> tuple[float, float, float, float]:
    side = min(size)
    left, top = (size[0] - side) / 2, (size[1] - side) / 2
    return (left, top, left + side, top + side)


def _random_box(size: tuple[int, int], crop: Crop, crop_scale: float) -> tuple[float, float, float, float]:
    """A box of a share of the picture and a ratio of 3:4 to 4:3, as RandomResizedCrop draws it, cut to the picture."""
    area = size[0] * size[1] * (crop_scale + (1.0 - crop_scale) * crop.scale)
    ratio = math.exp(_RATIOS[0] + (_RATIOS[1] - _RATIOS[0]) * crop.ratio)
    wide, high = min(math.sqrt(area * ratio), size[0]), min(math.sqrt(area / ratio), size[1])
    left, top = (size[0] - wide) * crop.left, (size[1] - high) * crop.top
    return (left, top, left + wide, top + high)
