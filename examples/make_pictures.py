"""Draws eighteen pictures with captions, so that there is something to try the program on.

    python examples/make_pictures.py DIR

Paper cut-outs in one style, in three shapes. The same pictures every time, a few kilobytes each.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

SHAPES = [(960, 960)] * 8 + [(832, 1104)] * 5 + [(1104, 832)] * 5
THINGS = ["house", "tree", "boat", "moon", "mountain", "fish", "flower", "kite", "lamp"]
PLACES = ["on a hill", "by the sea"]
PALETTE = ["#e4572e", "#17bebb", "#ffc914", "#2e282a", "#76b041", "#f0ead6", "#5b5f97"]


def draw(path: Path, size: tuple[int, int], thing: str, chance: random.Random) -> None:
    """One picture of `size` (width, height) pixels."""
    ground, *rest = chance.sample(PALETTE, 5)
    picture = Image.new("RGB", size, ground)
    pen = ImageDraw.Draw(picture)
    width, height = size
    pen.rectangle((0, int(height * 0.65), width, height), fill=rest[0])
    corners = {"house": 4, "tree": 3, "boat": 5, "kite": 4, "mountain": 3}.get(thing, 9)
    centre = (width * chance.uniform(0.35, 0.65), height * chance.uniform(0.4, 0.6))
    radius = min(size) * chance.uniform(0.18, 0.3)
    pen.regular_polygon((*centre, radius), corners, rotation=chance.randrange(90), fill=rest[1])
    sun = width * chance.choice((0.1, 0.45, 0.75))
    pen.ellipse((sun, height * 0.1, sun + 90, height * 0.1 + 90), fill=rest[2])
    picture.save(path, optimize=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(5)
    for index, size in enumerate(SHAPES):
        thing, place = THINGS[index % len(THINGS)], PLACES[index // len(THINGS)]
        draw(folder / f"{index + 1:02d}_{thing}.png", size, thing, chance)
        caption = f"paperworld, a paper cut-out. a {thing} stands {place}. flat shapes in few colours.\n"
        (folder / f"{index + 1:02d}_{thing}.txt").write_text(caption, encoding="utf-8")
    print(f"{len(SHAPES)} pictures with captions are in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
