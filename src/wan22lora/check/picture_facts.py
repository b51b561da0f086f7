"""What one picture is like beyond its size, from its pixels where they are decoded."""

from __future__ import annotations

import io
import threading
import zlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wan22lora.check.duplicates import COLUMNS, ROWS, Look
from wan22lora.dataset.pictures import refuse_programs
from wan22lora.dataset.png import SIGNATURE, png_damage
from wan22lora.dataset.source import Item

if TYPE_CHECKING:
    from PIL import Image

_FINE = 8
"""Pixels of a decoded JPEG, at least, for each side of one of the hash's places."""
_MARGIN = 2
"""Of 255: what must be brighter, so that noise decides nothing."""
_LARGE = 16_000_000
"""Pixels from which pictures are decoded one after the other, so that they do not fill the memory together."""
_WHOLE = 64 * 2**20
"""Bytes up to which a file is read in one piece."""
_one_large = threading.Lock()


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
    decoded: bool = True
    """False where only its header, and a PNG's checksums, were looked at."""
    copy: tuple[int, int] | None = None
    """Length and checksum of the file, which only copies share; None for very large ones."""
    lasting: bool = True
    """False where the disk or the memory may be to blame."""


def read_facts(item: Item, *, decode: bool = True) -> PictureFacts:
    """What one picture is like; a JPEG is decoded at a fraction of its size.

    Without `decode` a PNG is decoded only where its checksums are wrong, to learn whether musubi-tuner could.
    """
    try:
        data = item.path.read_bytes() if item.path.stat().st_size <= _WHOLE else None
        damage = png_damage(data) if data is not None and data.startswith(SIGNATURE) else ""
        turn: AbstractContextManager[object] = _one_large if item.size[0] * item.size[1] > _LARGE else nullcontext()
        with turn:
            facts = _from_pixels(item, data, decode=decode or bool(damage))
        return facts if data is None else replace(facts, copy=(len(data), zlib.crc32(data)))
    except Exception as problem:  # Pillow's decoders raise SyntaxError, ValueError, struct.error and more
        why = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        blameless = isinstance(problem, MemoryError) or (isinstance(problem, OSError) and problem.errno is not None)
        return PictureFacts(item, broken=why, lasting=not blameless)


def _from_pixels(item: Item, data: bytes | None, *, decode: bool) -> PictureFacts:
    from PIL import Image

    with Image.open(item.path if data is None else io.BytesIO(data)) as picture:
        refuse_programs(picture)
        # Phones write several pictures into one JPEG (MPO), which nobody calls animated.
        animated = picture.format != "MPO" and bool(getattr(picture, "is_animated", False))
        cmyk = picture.mode == "CMYK"
        if not decode:
            return PictureFacts(item, cmyk, animated, decoded=False)
        picture.draft("RGB", (COLUMNS * _FINE, ROWS * _FINE))
        picture.load()
        return PictureFacts(item, cmyk, animated, _is_transparent(picture), _look(picture))


def as_kept(facts: PictureFacts) -> list[object] | None:
    """For a memory; None for what may be otherwise next time."""
    look = [facts.look.bits, *facts.look.colour] if facts.look is not None else None
    seen: list[object] = [facts.cmyk, facts.animated, facts.transparent, look, facts.broken, facts.decoded, facts.copy]
    return seen if facts.lasting else None


def from_kept(item: Item, kept: Any) -> PictureFacts:
    """The facts of which `as_kept` made this. Raises for anything else."""
    cmyk, animated, transparent, look, broken, decoded, copy = kept
    shown = Look(look[0], (look[1], look[2], look[3])) if look is not None else None
    same = (copy[0], copy[1]) if copy is not None else None
    return PictureFacts(item, cmyk, animated, transparent, shown, broken, decoded, same)


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
