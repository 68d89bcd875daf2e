"""From a picture to the input of a model's picture tower, exactly as its makers did it, as each pixel affects scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from veclip_pipelines.errors import UsageError
from veclip_pipelines.training.embedding import CLIP_MEAN, CLIP_STD

Pixels = npt.NDArray[np.float32]
_FILTERS = {
    2: Image.Resampling.BILINEAR,
    3: Image.Resampling.BICUBIC,
    0: Image.Resampling.NEAREST,
    1: Image.Resampling.LANCZOS,
}
_NAMED = {"bilinear": 2, "bicubic": 3, "nearest": 0, "lanczos": 1}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture is cut.

    Attributes:
        size: side of the tower's input, in pixels.
        shorter: what the shorter side becomes before the centre crop; None: ``size``.
        resample: Pillow's number of the filter.
        mode: shortest: the shorter side is resized and the centre is cropped; squash: both sides are resized, whatever
            the ratio.
        maker: whose rounding of sizes and places, which differ by a pixel: transformers, torchvision (open_clip), or veclip,
            which is bilinear without antialias by TensorFlow's tf.image.resize.
    """

    size: int
    shorter: int | None = None
    resample: int = 3
    mode: Literal["shortest", "squash"] = "shortest"
    maker: Literal["transformers", "torchvision", "veclip"] = "transformers"
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    @classmethod
    def of_transformers(cls, config: Mapping[str, Any]) -> Preprocessing:
        """From the content of preprocessor_config.json. Raises UsageError where it asks for what is not known here."""
        size, crop = (_sides(config.get(name)) for name in ("size", "crop_size"))
        crop = crop if config.get("do_center_crop", True) and crop else size
        if size is None or crop is None or len(set(crop)) > 1 or (len(size) > 1 and size != crop):
            raise UsageError(
                f"a preprocessing of size {config.get('size')}, crop {config.get('crop_size')} is not known here"
            )
        return cls(
            size=crop[0],
            shorter=size[0],
            resample=int(config.get("resample", 3)),
            mode="squash" if len(size) > 1 else "shortest",
            mean=tuple(config.get("image_mean") or CLIP_MEAN),
            std=tuple(config.get("image_std") or CLIP_STD),
        )

    @classmethod
    def of_open_clip(cls, size: int, config: Mapping[str, Any]) -> Preprocessing:
        """From the preprocess_cfg of open_clip_config.json."""
        mode = config.get("resize_mode", "shortest")
        if mode not in ("shortest", "squash"):
            raise UsageError(f"open_clip's resize_mode {mode!r} is not known here")
        return cls(
            size=size,
            resample=_NAMED[config.get("interpolation", "bicubic")],
            mode=mode,
            maker="torchvision",
            mean=tuple(config.get("mean") or CLIP_MEAN),
            std=tuple(config.get("std") or CLIP_STD),
        )

    def pixels(self, picture: Image.Image) -> Pixels:
        """An RGB picture, cut and normalised: float32, shape (3, size, size)."""
        cut = _veclip(picture, self.size) if self.maker == "veclip" else self._by_pillow(picture)
        mean, std = (np.array(values, dtype=np.float32) for values in (self.mean, self.std))
        return np.ascontiguousarray(((cut / np.float32(255.0) - mean) / std).transpose(2, 0, 1))

    def _by_pillow(self, picture: Image.Image) -> npt.NDArray[np.float32]:
        size, filter_ = self.size, _FILTERS[self.resample]
        if self.mode == "squash":
            return np.asarray(picture.resize((size, size), filter_), dtype=np.float32)
        short, target = min(picture.size), self.shorter or size
        wide, high = (target if side == short else int(target * side / short) for side in picture.size)
        resized = picture if picture.size == (wide, high) else picture.resize((wide, high), filter_)
        if self.maker == "torchvision":
            left, top = int(round((wide - size) / 2.0)), int(round((high - size) / 2.0))  # noqa: RUF046 - as torchvision has it
        else:
            left, top = (wide - size) // 2, (high - size) // 2
        return np.asarray(resized.crop((left, top, left + size, top + size)), dtype=np.float32)


def _sides(size: object) -> list[int] | None:
    """One side where the shorter is meant, two where both are."""
    if isinstance(size, Mapping):
        found = [size[name] for name in ("height", "width") if name in size] or [size.get("shortest_edge")]
        return None if found == [None] else [int(side) for side in found]
    return None if size is None else [int(str(size))]


def _veclip(picture: Image.Image, size: int) -> npt.NDArray[np.float32]:
    """The released VeCLIP's own: clip_processor.py of apple/ml-veclip, whose tf.image.resize torch's interpolate equals."""
    import torch

    pixels = torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1)[None]
    high, wide = pixels.shape[2:]
    # TensorFlow's own arithmetic: 32 bits, and halves to the even neighbour.
    scale = np.float32(size) / np.float32(min(high, wide))
    target = [int(np.round(np.float32(side) * scale)) for side in (high, wide)]
    resized = torch.nn.functional.interpolate(pixels, target, mode="bilinear", align_corners=False, antialias=False)
    side = min(target)
    top, left = (int((length - side) / 2.0) for length in target)
    return resized[0, :, top : top + side, left : left + side].permute(1, 2, 0).numpy()
