"""What is sent of a picture or clip: small JPEGs, as data URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22lora.captions.place import Medium
from wan22lora.dataset.pictures import UnreadableError

if TYPE_CHECKING:
    from PIL import Image

PICTURE_SIDE = 1024
"""Pixels of the longer side of a picture, at most."""
FRAME_SIDE = 768
"""The same of a clip's frame."""
FRAMES = 4
_QUALITY = 90


def data_urls(medium: Medium) -> tuple[str, ...]:
    """One for a picture, at most `FRAMES` for a clip, in their order. Raises UnreadableError."""
    if medium.kind == "images":
        return (_data_url(_picture(medium.path), PICTURE_SIDE),)
    return tuple(_data_url(frame, FRAME_SIDE) for frame in _frames(medium.path))


def _picture(path: Path) -> Image.Image:
    """As a person sees it: turned as its tag says."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (2 * PICTURE_SIDE, 2 * PICTURE_SIDE))
            picture.load()
            return ImageOps.exif_transpose(picture).convert("RGB")
    except UnidentifiedImageError as problem:
        raise UnreadableError("not a picture that can be read") from problem
    except Exception as problem:  # Pillow's decoders raise SyntaxError, ValueError, struct.error and more
        raise UnreadableError(str(problem).splitlines()[0] if str(problem) else type(problem).__name__) from problem


def _frames(path: Path) -> list[Image.Image]:
    """Frames spread evenly over the clip: the middles of as many equal parts."""
    import av

    kept: list[Image.Image] = []
    every, count = 1, 0
    try:
        with av.open(str(path)) as container:
            frame: Any  # PyAV's older releases leave its methods untyped
            for frame in container.decode(container.streams.video[0]):
                if count % every == 0:
                    kept.append(_small(frame.to_image()))
                count += 1
                # Length is known at the end only, so every second frame goes whenever there are too many.
                if len(kept) > 8 * FRAMES:
                    kept, every = kept[::2], every * 2
    except (av.FFmpegError, OSError, ValueError, IndexError) as problem:
        raise UnreadableError(getattr(problem, "strerror", None) or str(problem) or "no video in it") from problem
    if not kept:
        raise UnreadableError("no frame in it can be decoded")
    return [kept[index] for index in middles(len(kept), FRAMES)]


def middles(length: int, parts: int) -> Sequence[int]:
    """The positions in the middle of equal parts, each once; all where there are no more."""
    if length <= parts:
        return range(length)
    return [(2 * part + 1) * length // (2 * parts) for part in range(parts)]


def _small(picture: Image.Image) -> Image.Image:
    picture.thumbnail((FRAME_SIDE, FRAME_SIDE))
    return picture


def _data_url(picture: Image.Image, side: int) -> str:
    picture.thumbnail((side, side))
    made = io.BytesIO()
    picture.save(made, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(made.getvalue()).decode()}"
