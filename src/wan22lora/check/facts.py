"""What a picture or clip is like beyond its size, read once; the rules work on these values alone."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wan22lora.check.clip_frames import frames_of
from wan22lora.check.duplicates import COLUMNS, ROWS, Look
from wan22lora.check.movement import FRAMES, Movement, movement_in
from wan22lora.dataset.clips import read_seconds
from wan22lora.dataset.frames import frames_to_read
from wan22lora.dataset.scan import Scan
from wan22lora.dataset.source import Item, Source

if TYPE_CHECKING:
    from PIL import Image

_MOST_THREADS = 8
_FINE = 32
"""Pixels of a decoded JPEG, at least, for each side of one of the hash's places."""
_CLIP_SIDE = 256
"""Pixels of a clip's frames, of which averages are taken."""
_MARGIN = 2
"""Of 255: what must be brighter, so that noise decides nothing."""


@dataclass(frozen=True)
class PictureFacts:
    """One picture of a dataset."""

    item: Item
    cmyk: bool = False
    animated: bool = False
    transparent: bool = False
    """True when some pixel is not opaque."""
    look: Look | None = None
    broken: str = ""
    """Why it cannot be decoded, although its header can be read."""


@dataclass(frozen=True)
class ClipFacts:
    """One clip of a dataset."""

    item: Item
    seconds: float | None
    """As the container states it; None where it does not, and for a folder of pictures."""
    movement: Movement | None = None
    """None where too few frames can be decoded."""


@dataclass(frozen=True)
class Looked:
    """A dataset with what its files are like."""

    scan: Scan
    pictures: tuple[PictureFacts, ...] = ()
    clips: tuple[ClipFacts, ...] = ()


def look_at(scans: Iterable[Scan]) -> tuple[Looked, ...]:
    """Decodes every picture once, on as many threads as there are CPUs, at most eight. Never raises for a file."""
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads,
    ):
        warnings.simplefilter("ignore")  # Pillow warns of very large pictures; musubi-tuner reads them
        return tuple(
            Looked(scan, pictures=tuple(threads.map(read_facts, scan.items)))
            if scan.source.kind == "images"
            else Looked(scan, clips=tuple(read_clip_facts(item, scan.source) for item in scan.items))
            for scan in scans
        )


def read_clip_facts(item: Item, source: Source) -> ClipFacts:
    """What one clip is like, by a few frames of what is trained of it."""
    frames = frames_of(item.path, FRAMES, _CLIP_SIDE, frames_to_read(source))
    return ClipFacts(item, read_seconds(item.path), movement_in(frames))


def read_facts(item: Item) -> PictureFacts:
    """What one picture is like; a JPEG is decoded at a fraction of its size."""
    from PIL import Image

    try:
        with Image.open(item.path) as picture:
            # Phones write several pictures into one JPEG (MPO), which nobody calls animated.
            animated = picture.format != "MPO" and bool(getattr(picture, "is_animated", False))
            cmyk = picture.mode == "CMYK"
            picture.draft("RGB", (COLUMNS * _FINE, ROWS * _FINE))
            picture.load()
            return PictureFacts(item, cmyk, animated, _is_transparent(picture), _look(picture))
    except Exception as problem:  # Pillow's decoders raise SyntaxError, ValueError, struct.error and more
        return PictureFacts(item, broken=str(problem).splitlines()[0] if str(problem) else type(problem).__name__)


def _is_transparent(picture: Image.Image) -> bool:
    if "transparency" in picture.info and picture.mode in ("P", "L", "RGB"):
        picture = picture.convert("RGBA")
    if picture.mode not in ("RGBA", "LA", "PA"):
        return False
    lowest = picture.getchannel("A").getextrema()[0]
    return isinstance(lowest, (int, float)) and lowest < 255


def _look(picture: Image.Image) -> Look:
    from PIL import Image

    if picture.mode not in ("RGB", "L"):
        picture = picture.convert("RGB")
    small = picture.resize((COLUMNS, ROWS), Image.Resampling.BOX).convert("RGB")
    grey = small.convert("L").tobytes()
    bits = 0
    for row in range(ROWS):
        for column in range(COLUMNS - 1):
            at = row * COLUMNS + column
            bits = bits << 1 | (grey[at] + _MARGIN < grey[at + 1])
    red, green, blue = (sum(small.getchannel(band).tobytes()) // (COLUMNS * ROWS) for band in "RGB")
    return Look(bits, (red, green, blue))
