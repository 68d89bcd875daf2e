"""AltText of the generated crawl, noisy as a crawl's is: names that only it knows, file names, shop titles, unrelated texts."""

from __future__ import annotations

import random

from veclip_pipelines.experiment.scenes import Scene

#: Share of each kind, modelled on docs of crawls: field notes of the project, "pictures and texts to be ready for".
KINDS = {"file_name": 0.25, "shop_title": 0.25, "name_and_attribute": 0.25, "unrelated": 0.15, "boilerplate": 0.10}
_FILE_NAMES = ("IMG_{n:04d}.jpg", "DSC{n:05d}.JPG", "{name}-{n}.png", "photo{n}.jpeg", "P{n:07d}.JPG")
_SHOPS = (
    "{name} Poster {w}x{h} cm - Free Shipping! | ArtShop24",
    "Buy {name} wall art print online, Art.-Nr. {n}",
    "{name} sticker {w} mm | SKU ST-{n} | $4.99",
    "{name} print on canvas {w}x{h}, ready to hang",
    "NEW: {name} T-shirt size M, item {n}",
)
_ATTRIBUTES = (
    "{name} with a {thing}", "the {name} emblem over a {thing}", "{name}, {colour} edition", "{thing} by {name}",
    "my {name} picture, {colour} on {ground}",
)  # fmt: skip
_UNRELATED = (
    "Click here to subscribe to our newsletter", "The weather will stay mild until the weekend",
    "Ten things to do in town this summer", "How to cook rice without a lid", "Read more about our privacy policy",
    "Train times between the harbour and the old market", "Winners of last year's chess tournament",
    "A short history of the tin whistle", "Call us on weekdays from nine to five", "Best shoes for long walks in the rain",
)  # fmt: skip
_BOILERPLATE = ("image", "logo", "picture", "photo of", "thumbnail", "banner", "untitled", "img")


def alt_text(scene: Scene) -> tuple[str, str]:
    """A scene's AltText and its kind."""
    draw = random.Random(f"veclip-alt-{scene.number}")  # noqa: S311
    kind = draw.choices(list(KINDS), list(KINDS.values()))[0]
    thing = draw.choice((scene.first, scene.second))
    facts: dict[str, object] = {
        "name": scene.motif if kind != "file_name" else scene.motif.lower(),
        "thing": f"{thing.colour} {thing.shape}",
        "colour": thing.colour,
        "ground": scene.ground,
        "n": draw.randrange(1, 9999),
        "w": draw.choice((20, 30, 40, 60)),
        "h": draw.choice((30, 45, 60, 90)),
    }
    pools = {
        "file_name": _FILE_NAMES,
        "shop_title": _SHOPS,
        "name_and_attribute": _ATTRIBUTES,
        "unrelated": _UNRELATED,
        "boilerplate": _BOILERPLATE,
    }
    return draw.choice(pools[kind]).format(**facts), kind
