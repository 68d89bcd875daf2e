"""The tagger: an ImageNet classifier's name for the picture if it is sure, and the colours of its pixels in any case.

No vision-language model ships in a package registry, so a laptop without a network uses this. EfficientNet-Lite0,
its weights as converted by ``veclip models install``; useless on icons and patterns, hence the gate on its probability.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from veclip_pipelines.engines.base import EngineText, PictureBatch, go_on
from veclip_pipelines.engines.identity import EngineSpec
from veclip_pipelines.errors import ModelMissingError
from veclip_pipelines.extras import require

LABELS_FILE = "labels.json"
WEIGHTS_FILE = "model.safetensors"

_RESIZE, _CROP = 256, 224
#: Upper bound in degrees of each hue, in order; beyond the last it is red again.
_HUES = ((16, "red"), (41, "orange"), (68, "yellow"), (165, "green"), (200, "light blue"), (258, "blue"), (290, "purple"),
         (345, "pink"), (360, "red"))  # fmt: skip
#: A picture is called black and white if less than this share of it has any colour.
_COLOURED_SHARE = 0.02


#: Pictures in one step of the model.
_ROWS = 16


@dataclass(frozen=True)
class _Prepared:
    """Pixels of shape (pictures, 3, 224, 224), and the names of each picture's colours."""

    pixels: np.ndarray[tuple[int, int, int, int], np.dtype[np.float32]]
    colours: list[list[str]]


class TaggerEngine:
    """Describes a picture by class name and colours, in under 20 words.

    Raises:
        ModelMissingError: the weights, or the package with the architecture, are not installed.
    """

    def __init__(self, spec: EngineSpec) -> None:
        import torch
        from safetensors.torch import load_file

        architectures = require("efficientnet_lite_pytorch", ModelMissingError)
        weights = spec.model_folder / WEIGHTS_FILE
        self._labels: list[str] = json.loads((spec.model_folder / LABELS_FILE).read_text("utf-8"))
        self._threshold = spec.profile.threshold
        self._torch = torch
        self._model = architectures.EfficientNet.from_name("efficientnet-lite0").eval()
        self._model.load_state_dict(load_file(weights))

    def prepare(self, batch: PictureBatch) -> _Prepared:
        """The pixels as the model takes them, and each picture's colours."""
        pixels = np.stack([_preprocess(picture) for picture in batch.pictures])
        return _Prepared(pixels, [dominant_colours(picture) for picture in batch.pictures])

    def answer(self, prepared: _Prepared, stop: Callable[[], None] = go_on) -> list[EngineText]:
        """One short sentence per picture; ``token_count`` counts words, as there is no tokenizer."""
        torch = self._torch
        texts = []
        for start in range(0, len(prepared.colours), _ROWS):
            stop()
            with torch.inference_mode():
                batch = torch.from_numpy(prepared.pixels[start : start + _ROWS])
                best = self._model(batch).softmax(dim=-1).max(dim=-1)
            rows = zip(
                best.values.tolist(), best.indices.tolist(), prepared.colours[start : start + _ROWS], strict=True
            )
            texts += [self._sentence(probability, index, colours) for probability, index, colours in rows]
        return [EngineText(text, "stop", len(text.split())) for text in texts]

    def _sentence(self, probability: float, index: int, names: list[str]) -> str:
        colours = f"in {' and '.join(names)}"
        if probability < self._threshold:
            return f"a picture {colours}"
        name = self._labels[index]
        if not name.startswith(("a ", "an ")):
            name = f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
        return f"{name} {colours}"


def dominant_colours(picture: Image.Image, most: int = 2) -> list[str]:
    """Names of the colours that cover the most of a picture: the first, and another that covers a seventh of it.

    In a picture with colour, black, white or gray never comes first, unless a hue covers less than a tenth of it.
    """
    small = picture.convert("RGB").resize((48, 48), Image.Resampling.BOX)
    names = np.array([_colour_name(*pixel) for pixel in np.asarray(small.convert("HSV")).reshape(-1, 3).tolist()])
    found, counts = np.unique(names, return_counts=True)
    shares = {str(name): float(count) / len(names) for name, count in zip(found, counts, strict=True)}
    hued = {name: share for name, share in shares.items() if name not in ("black", "white", "gray")}
    if sum(hued.values()) < _COLOURED_SHARE:
        return ["black", "white"]
    order = sorted(shares, key=lambda name: (hued.get(name, 0.0) < 0.1, -shares[name], name))
    return [name for place, name in enumerate(order[:most]) if place == 0 or shares[name] > 1 / 7]


def _colour_name(hue: int, saturation: int, value: int) -> str:
    """Name of one pixel, from PIL's HSV of 0 to 255 each."""
    if value < 45:
        return "black"
    if saturation < 40:
        return "white" if value > 215 else "gray" if value > 70 else "black"
    degrees = hue * 360 / 255
    name = next(name for bound, name in _HUES if degrees <= bound)
    if name in ("orange", "yellow", "red") and degrees > 8 and saturation < 115 and value > 150:
        return "beige"
    if name == "orange" and value < 170:
        return "brown"
    return name


def _preprocess(picture: Image.Image) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    """Resize the shorter side to 256, crop the middle 224, (x - 127) / 128: as the weights were trained. Shape 3, 224, 224."""
    scale = _RESIZE / min(picture.size)
    size = (max(_RESIZE, round(picture.width * scale)), max(_RESIZE, round(picture.height * scale)))
    resized = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = (resized.width - _CROP) // 2, (resized.height - _CROP) // 2
    pixels = np.asarray(resized.crop((left, top, left + _CROP, top + _CROP)), dtype=np.float32)
    return ((pixels - 127.0) / 128.0).transpose(2, 0, 1)
