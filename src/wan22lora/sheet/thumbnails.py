"""Small JPEGs of what is trained: stored pixels, read as musubi-tuner reads them, no rotation tag applied."""

from __future__ import annotations

import io
import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from wan22lora.check.clip_frames import frames_of
from wan22lora.dataset.pictures import refuse_programs
from wan22lora.sheet.content import Entry

if TYPE_CHECKING:
    from PIL import Image

FRAMES = 4
"""Shown of a clip."""
_SIZES = ((300, 448, 80), (2000, 288, 75))
"""Up to so many entries: pixels of the longer side, and JPEG quality."""
_SMALLEST = (176, 65)
_AHEAD = 64
"""Thumbnails made before they are asked for; keeps memory small."""


def thumbnails(entries: Sequence[Entry]) -> Iterator[tuple[bytes, ...]]:
    """JPEG files for each entry in order: one of a picture, up to four of a clip, none of what cannot be decoded.

    The more entries, the smaller: 10,000 have to fit a page.
    """
    side, quality = next(((side, quality) for most, side, quality in _SIZES if len(entries) <= most), _SMALLEST)
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        warnings.simplefilter("ignore")  # Pillow warns of very large pictures; musubi-tuner reads them
        waiting: deque[Future[tuple[bytes, ...]]] = deque()
        for entry in entries:
            waiting.append(threads.submit(_thumbnails_of, entry, side, quality))
            if len(waiting) >= _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _thumbnails_of(entry: Entry, side: int, quality: int) -> tuple[bytes, ...]:
    if entry.shown == "clip":
        half = max(side // 2, 128)
        return tuple(_jpeg(frame, quality) for frame in frames_of(entry.path, FRAMES, half, entry.frame_limit))
    if not os.path.isfile(entry.path):  # noqa: PTH113 - a pipe would be waited for without end
        return ()
    from PIL import Image

    try:
        with Image.open(entry.path) as picture:
            refuse_programs(picture)
            picture.draft("RGB", (side, side))
            small = picture.convert("RGB")
        small.thumbnail((side, side))
        return (_jpeg(small, quality),)
    except Exception:  # Pillow's decoders raise anything; the remark says why
        return ()


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()
