"""The quick look at a JPEG: it says what Pillow says, and leaves to Pillow what is not plain."""

from __future__ import annotations

import io

import pytest
from builders import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from veclip_pipelines.media import pictures
from veclip_pipelines.media.jpeg import quick_look
from veclip_pipelines.media.pictures import MAX_PIXELS, PictureError, PictureFacts, examine


def jpeg(size: tuple[int, int] = (300, 200), mode: str = "RGB", **arguments: object) -> bytes:
    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(picture(5, size=size))).convert(mode)
    image.save(buffer, "JPEG", **arguments)
    return buffer.getvalue()


def by_pillow(data: bytes, monkeypatch: pytest.MonkeyPatch) -> PictureFacts | str:
    with monkeypatch.context() as without:
        without.setattr(pictures, "quick_look", lambda *_: None)
        return verdict(data)


def verdict(data: bytes) -> PictureFacts | str:
    try:
        return examine(data)
    except PictureError as error:
        return error.reason


@pytest.mark.parametrize("size", [(300, 200), (33, 35), (20, 9), (256, 256), (1, 1), (7200, 200)])
@pytest.mark.parametrize(
    "arguments", [{"mode": "RGB"}, {"mode": "L"}, {"progressive": True}, {"quality": 30, "subsampling": 0}]
)
def test_plain_jpegs_are_seen_as_pillow_sees_them(
    size: tuple[int, int], arguments: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = jpeg(size, **arguments)
    assert quick_look(data, 32, MAX_PIXELS) is not None
    ours, theirs = examine(data), by_pillow(data, monkeypatch)
    assert isinstance(theirs, PictureFacts)
    assert (ours.media_type, ours.width, ours.height) == (theirs.media_type, theirs.width, theirs.height)
    if min(size) >= 32:
        # Another scale and no colour on the way: near, and far below what tells two pictures apart.
        assert (int(ours.phash, 16) ^ int(theirs.phash, 16)).bit_count() <= 8


@pytest.mark.parametrize(
    "data",
    [
        jpeg(mode="CMYK"),
        jpeg()[:2] + b"\xff\xe1\x00\x08Exif\0\0" + jpeg()[2:],
        picture(1),
        jpeg()[:-300],
        b"",
        b"\xff\xd8\xff",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_pillow(data: bytes) -> None:
    assert quick_look(data, 32, MAX_PIXELS) is None


def test_more_pixels_than_are_allowed_are_never_decoded() -> None:
    assert quick_look(jpeg(), 32, 1000) is None


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 5_000), st.integers(0, 255), st.integers(0, 3))
def test_damage_is_never_kept_where_pillow_rejects_it(place: int, value: int, cut: int) -> None:
    data = bytearray(jpeg())
    data[place % len(data)] = value
    damaged = bytes(data[: len(data) - cut * 100])
    found = verdict(damaged)
    monkeypatch = pytest.MonkeyPatch()
    theirs = by_pillow(damaged, monkeypatch)
    assert isinstance(found, str) == isinstance(theirs, str), (found, theirs)
