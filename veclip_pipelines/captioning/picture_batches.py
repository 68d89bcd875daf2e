"""The pictures of a batch: read by range in shard order, checked, decoded, a few at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from PIL import Image

from veclip_pipelines.captioning.plan import Unit
from veclip_pipelines.captioning.results import Caption
from veclip_pipelines.engines.base import PictureBatch
from veclip_pipelines.media.pictures import PictureError, decode
from veclip_pipelines.media.shards import ByteRange, read_ranges

#: The most pixels a side that an engine sees: a stranger's panorama must not fill a worker's memory.
_MAX_SIDE = 1024
#: Pictures that are in memory as pixels at a time, twice: those that the model works on and those that come next.
_AT_A_TIME = 64


class PictureReader:
    """Makes an engine's batches from units.

    Args:
        fields: values of the prompt's fields for each unit.

    Attributes:
        unreadable: rejects of the units whose picture cannot be used, by place.
    """

    def __init__(self, units: Sequence[Unit], fields: Sequence[Mapping[str, str]]) -> None:
        self._units = units
        self._fields = fields
        self.unreadable: dict[int, Caption] = {}

    def batches(self, places: Sequence[int], attempt: int) -> Iterator[tuple[Sequence[int], PictureBatch]]:
        """The pictures at some places, in that order; those that cannot be used are left out."""
        for start in range(0, len(places), _AT_A_TIME):
            part = places[start : start + _AT_A_TIME]
            pictures: dict[int, Image.Image] = {}
            for place, data in zip(part, read_ranges(self._range(place) for place in part), strict=True):
                found = _load(self._units[place], data)
                if isinstance(found, Caption):
                    self.unreadable[place] = found
                else:
                    pictures[place] = found
            if pictures:
                seen = tuple(pictures)
                fields = tuple(self._fields[place] for place in seen)
                keys = tuple(self._units[place].input_hash for place in seen)
                yield seen, PictureBatch(tuple(pictures.values()), fields, keys, attempt)

    def _range(self, place: int) -> ByteRange:
        picture = self._units[place].picture
        if picture is None:
            raise ValueError("a unit without a picture was given to an engine that sees")
        return picture


def _load(unit: Unit, data: bytes) -> Image.Image | Caption:
    if hashlib.sha256(data).hexdigest() != unit.image_sha256:
        detail = "the shard's bytes are no longer those that were indexed"
        return Caption(None, None, reason="picture_changed", detail=detail)
    try:
        return decode(data, max_side=_MAX_SIDE)
    except PictureError as error:
        return Caption(None, None, reason=error.reason, detail=error.detail)
