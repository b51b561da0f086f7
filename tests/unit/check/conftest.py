"""The little datasets of the dataset's own tests, and what the rules say of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from wan22lora.check.examine import examine
from wan22lora.check.remark import Remark
from wan22lora.dataset.scan import scan
from wan22lora.dataset.source import Source

Said = Callable[..., dict[str, Remark]]


@pytest.fixture
def picture(folder: Path) -> Callable[..., Path]:
    """Draws a picture of its own for each name and size, and writes a caption of its own beside it."""

    def make(
        name: str, size: tuple[int, int] = (128, 128), mode: str = "RGB", caption: str | None = None, **options: Any
    ) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn(name, size).convert(mode).save(path, **options)
        text = f"zxq, this is {name}" if caption is None else caption
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
        return path

    return make


def drawn(name: str, size: tuple[int, int]) -> Image.Image:
    """Rectangles whose place and colour come from the name."""
    import random

    chance = random.Random(name)
    picture = Image.new("RGB", (256, 256), (chance.randrange(256), chance.randrange(256), chance.randrange(256)))
    draw = ImageDraw.Draw(picture)
    for _ in range(24):
        x, y = chance.randrange(220), chance.randrange(220)
        colour = (chance.randrange(256), chance.randrange(256), chance.randrange(256))
        draw.rectangle((x, y, x + chance.randrange(20, 90), y + chance.randrange(20, 90)), fill=colour)
    return picture.resize(size)


@pytest.fixture
def said() -> Said:
    """What there is to say of datasets, by kind, each kind once; what `train` says of them aside."""

    def make(*sources: Source, trigger: str | None = None) -> dict[str, Remark]:
        remarks = examine([scan(source) for source in sources], (), trigger=trigger, trigger_at="run.yaml:4:1 trigger")
        by_kind: dict[str, Remark] = {remark.kind: remark for remark in remarks}
        assert len(by_kind) == len(remarks)
        return by_kind

    return make


def damage(png: Path) -> None:
    """Puts zeros into its pixels; header and end stay as they are."""
    content = bytearray(png.read_bytes())
    at = content.index(b"IDAT") + 12
    content[at : at + 200] = bytes(200)
    png.write_bytes(content)
