"""Scenes that this project draws: two textured shapes in a relation on a ground, and a motif that has only a name.

What a captioner can say of a scene (shapes, colours, textures, places) and what only its AltText knows (the motif's invented
name) are separate, as in a crawl: that lets the experiment distinguish retrieval from recognition by name.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw

SIDE = 64
COLOURS = {
    "red": (205, 40, 45), "green": (45, 150, 65), "blue": (45, 85, 200), "orange": (240, 140, 30),
    "purple": (130, 60, 165), "pink": (240, 135, 180), "brown": (125, 80, 45), "turquoise": (60, 195, 190),
}  # fmt: skip
GROUNDS = {
    "white": (248, 248, 246), "gray": (172, 172, 172), "black": (24, 24, 26), "yellow": (248, 225, 95),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
TEXTURES = ("plain", "striped", "dotted")
RELATIONS = ("left of", "right of", "above", "below")
#: Invented, so that no tokenizer or model can already know them.
MOTIFS = (
    "Zorvex", "Maribo", "Tunkell", "Feldora", "Quarnis", "Belhozu", "Ostrume", "Vintara",
    "Gromwick", "Lusaphi", "Drenkola", "Yapetto", "Kilmaron", "Sibrent", "Wozmire", "Halquist",
)  # fmt: skip
_CELLS, _CELL = 5, 4
_EIGHT = SIDE // 8
#: Where along its edge a motif stands: in steps of a 16-pixel patch, so that a small CLIP can learn them in a minute.
_MOTIF_PLACES = (6, 22, 38)


@dataclass(frozen=True)
class Thing:
    """One of a scene's two shapes."""

    colour: str
    shape: str
    texture: str

    def described(self) -> str:
        texture = "" if self.texture == "plain" else f"{self.texture} "
        return f"{texture}{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """The content of a picture. ``first`` is in ``relation`` to ``second``."""

    number: int
    first: Thing
    second: Thing
    relation: str
    ground: str
    motif: str

    def caption(self) -> str:
        """Describes all that can be seen, which the motif's name cannot."""
        return f"{_article(self.first.described())} {self.relation} {_article(self.second.described())} on a {self.ground} ground"


def scene(number: int) -> Scene:
    """The scene with a given number: the same on every machine."""
    draw = random.Random(f"veclip-scene-{number}")  # noqa: S311
    first, second = (Thing(draw.choice(list(COLOURS)), draw.choice(SHAPES), draw.choice(TEXTURES)) for _ in range(2))
    while second == first:
        second = Thing(draw.choice(list(COLOURS)), draw.choice(SHAPES), draw.choice(TEXTURES))
    return Scene(number, first, second, draw.choice(RELATIONS), draw.choice(list(GROUNDS)), draw.choice(MOTIFS))


def picture(shown: Scene) -> bytes:
    """The scene as a JPEG of 64 by 64 pixels."""
    draw = random.Random(f"veclip-picture-{shown.number}")  # noqa: S311
    image = Image.new("RGB", (SIDE, SIDE), GROUNDS[shown.ground])
    across = shown.relation in ("left of", "right of")
    near, far = (2 * _EIGHT, 6 * _EIGHT)
    # The motif is put into the corner that the two shapes leave free.
    middle = 5 * _EIGHT if across else 3 * _EIGHT
    low, high = ((near, middle), (far, middle)) if across else ((middle, near), (middle, far))
    places = (low, high) if shown.relation in ("left of", "above") else (high, low)
    for thing, place in zip((shown.first, shown.second), places, strict=True):
        jitter = (place[0] + draw.randint(-3, 3), place[1] + draw.randint(-3, 3))
        _draw_thing(image, thing, jitter, draw.randint(10, 13))
    along = draw.choice(_MOTIF_PLACES)
    corner = (along, 1) if across else (SIDE - _CELLS * _CELL - 1, along)
    _draw_motif(image, shown.motif, corner)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _draw_thing(image: Image.Image, thing: Thing, centre: tuple[int, int], radius: int) -> None:
    mask = Image.new("L", image.size, 0)
    pen, (x, y), r = ImageDraw.Draw(mask), centre, radius
    box = (x - r, y - r, x + r, y + r)
    if thing.shape == "circle":
        pen.ellipse(box, fill=255)
    elif thing.shape == "ring":
        pen.ellipse(box, fill=255)
        pen.ellipse((x - r // 2, y - r // 2, x + r // 2, y + r // 2), fill=0)
    elif thing.shape == "square":
        pen.rectangle((x - r + 1, y - r + 1, x + r - 1, y + r - 1), fill=255)
    elif thing.shape == "triangle":
        pen.polygon([(x, y - r), (x + r, y + r), (x - r, y + r)], fill=255)
    elif thing.shape == "cross":
        arm = r // 3
        pen.rectangle((x - arm, y - r, x + arm, y + r), fill=255)
        pen.rectangle((x - r, y - arm, x + r, y + arm), fill=255)
    else:
        pen.polygon(_star(x, y, r + 1), fill=255)
    image.paste(_fill(thing, image.size), mask=mask)


def _fill(thing: Thing, size: tuple[int, int]) -> Image.Image:
    """A plane of the thing's colour in its texture."""
    colour = COLOURS[thing.colour]
    plane = Image.new("RGB", size, colour)
    pen = ImageDraw.Draw(plane)
    light = (255, 252, 240)
    if thing.texture == "striped":
        for x in range(0, size[0], 6):
            pen.rectangle((x, 0, x + 1, size[1]), fill=light)
    elif thing.texture == "dotted":
        for x in range(2, size[0], 6):
            for y in range(2, size[1], 6):
                pen.rectangle((x, y, x + 1, y + 1), fill=light)
    return plane


def _star(x: int, y: int, r: int) -> list[tuple[float, float]]:
    import math

    angles = [math.pi / 5 * step - math.pi / 2 for step in range(10)]
    radii = [r if step % 2 == 0 else 0.45 * r for step in range(10)]
    return [
        (x + radius * math.cos(angle), y + radius * math.sin(angle))
        for angle, radius in zip(angles, radii, strict=True)
    ]


@cache
def _cells(motif: str) -> tuple[tuple[int, int], ...]:
    """Filled cells of a motif: a symmetric pattern, derived from its name."""
    draw = random.Random(f"veclip-motif-{motif}")  # noqa: S311
    half = [(column, row) for row in range(_CELLS) for column in range((_CELLS + 1) // 2)]
    chosen = draw.sample(half, 8)
    return tuple(sorted({place for column, row in chosen for place in ((column, row), (_CELLS - 1 - column, row))}))


def _draw_motif(image: Image.Image, motif: str, corner: tuple[int, int]) -> None:
    pen = ImageDraw.Draw(image)
    left, top = corner
    pen.rectangle((left, top, left + _CELLS * _CELL - 1, top + _CELLS * _CELL - 1), fill=(255, 255, 255), outline=None)
    for column, row in _cells(motif):
        x, y = left + column * _CELL, top + row * _CELL
        pen.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), fill=(10, 10, 10))
