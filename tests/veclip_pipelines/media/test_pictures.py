"""Strangers' pictures: every kind that the field notes name, none of which ends a run.

The fast path for JPEG gives what Pillow gives, and leaves to Pillow what is not plain.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from builders import picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from veclip_pipelines.media import pictures
from veclip_pipelines.media.pictures import MAX_PIXELS, PictureError, PictureFacts, decode, examine, quick_look


def encoded(image: Image.Image, kind: str, **arguments: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **arguments)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind", "media_type"),
    [
        ("RGB", "JPEG", "image/jpeg"),
        ("L", "JPEG", "image/jpeg"),
        ("CMYK", "JPEG", "image/jpeg"),
        ("RGBA", "PNG", "image/png"),
        ("LA", "PNG", "image/png"),
        ("P", "PNG", "image/png"),
        ("1", "PNG", "image/png"),
        ("I;16", "PNG", "image/png"),
        ("P", "GIF", "image/gif"),
        ("RGB", "WEBP", "image/webp"),
        ("RGB", "AVIF", "image/avif"),
        ("RGB", "BMP", "image/bmp"),
    ],
)
def test_each_mode_and_format_becomes_rgb(mode: str, kind: str, media_type: str) -> None:
    data = encoded(Image.new(mode, (60, 40)), kind)
    facts = examine(data)
    assert (facts.media_type, facts.width, facts.height) == (media_type, 60, 40)
    assert len(facts.phash) == 16
    assert decode(data).mode == "RGB"


def test_transparency_lies_on_white() -> None:
    assert decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG")).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30] * 256)
    assert decode(encoded(palette, "PNG", transparency=0)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(orientation: int) -> None:
    image = Image.new("RGB", (60, 40), "white")
    image.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, "JPEG", exif=exif, quality=95)
    facts, pixels = examine(data), decode(data)
    assert (facts.width, facts.height) == pixels.size == ((60, 40) if orientation < 5 else (40, 60))
    red = {1: (5, 5), 2: (55, 5), 3: (55, 35), 4: (5, 35), 5: (5, 5), 6: (35, 5), 7: (35, 55), 8: (5, 55)}[orientation]
    assert pixels.getpixel(red)[1] < 100


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((0, 0)) == (255, 0, 0)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    image = Image.new("I;16", (4, 4), 32896)
    assert decode(encoded(image, "PNG")).getpixel((0, 0)) == (128, 128, 128)


def test_panorama_and_single_pixel() -> None:
    assert examine(encoded(Image.new("RGB", (3600, 100)), "JPEG")).width == 3600
    assert examine(encoded(Image.new("RGB", (1, 1)), "PNG")).height == 1
    assert decode(encoded(Image.new("RGB", (3600, 100)), "JPEG"), max_side=360).size == (360, 10)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"<!DOCTYPE html><html><script>alert(1)</script></html>", "not_a_picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_a_picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n(run) system", "not_a_picture"),
        (picture(1, (300, 300), "JPEG")[:-1000], "truncated_picture"),
        (picture(1, (300, 300))[:300], "truncated_picture"),
    ],
)
def test_what_is_no_whole_picture_has_a_reason(data: bytes, reason: str) -> None:
    for function in (examine, decode):
        with pytest.raises(PictureError) as caught:
            function(data)
        assert caught.value.reason == reason
        assert "script" not in caught.value.detail


@pytest.mark.parametrize("width", [9_000, 18_000])
def test_a_header_that_claims_too_many_pixels_is_not_decoded(width: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 10_000, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(PictureError) as caught:
        examine(data)
    assert caught.value.reason == "too_many_pixels"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damage_of_any_kind_is_a_reject_and_never_another_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP"]))
    whole = bytearray(picture(data.draw(st.integers(0, 20)), kind=kind))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    reason = None
    try:
        examine(bytes(whole))
    except PictureError as error:
        reason = error.reason
    assert reason in {None, "not_a_picture", "truncated_picture", "too_many_pixels", "empty_file"}


def test_near_pictures_have_near_hashes() -> None:
    def bits(data: bytes) -> int:
        return int(examine(data).phash, 16)

    def field(seed: int) -> Image.Image:
        noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        return Image.fromarray(noise).resize((200, 200), Image.Resampling.BICUBIC)

    one, two = (
        bits(encoded(field(1), "JPEG", quality=95)),
        bits(encoded(field(1).resize((150, 150)), "JPEG", quality=40)),
    )
    assert (one ^ two).bit_count() <= 6
    assert (one ^ bits(encoded(field(2), "PNG"))).bit_count() > 16


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
