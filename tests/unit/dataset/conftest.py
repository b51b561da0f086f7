"""Real little pictures, clips and datasets, made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def picture(folder: Path) -> Callable[..., Path]:
    """Writes a picture, and a caption beside it unless `caption` is None."""
    from PIL import Image

    def make(name: str, size: tuple[int, int] = (64, 48), caption: str | None = "a bird", **options: Any) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (200, 80, 30)).save(path, **options)
        if caption is not None:
            path.with_suffix(".txt").write_text(caption, encoding="utf-8")
        return path

    return make


@pytest.fixture
def clip(folder: Path) -> Callable[..., Path]:
    """Writes a clip, and a caption beside it unless `caption` is None."""
    import av
    from PIL import Image

    as_frame: Any = av.VideoFrame.from_image

    def make(
        name: str,
        frames: int = 9,
        rate: float = 16,
        size: tuple[int, int] = (64, 48),
        codec: str = "libx264",
        caption: str | None = "a bird flies",
        options: dict[str, str] | None = None,
    ) -> Path:
        path = folder / name
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
            stream.options = options or {}
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            for index in range(frames):
                image = Image.new("RGB", size, (index * 37 % 256, index * 91 % 256, 60))
                container.mux(stream.encode(as_frame(image)))
            container.mux(stream.encode(None))
        if caption is not None:
            path.with_suffix(".txt").write_text(caption, encoding="utf-8")
        return path

    return make
