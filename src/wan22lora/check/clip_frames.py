"""A few frames of a clip, spread over what is trained of it, without decoding more than that takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22lora.dataset.listing import media_among, names_in
from wan22lora.dataset.pictures import refuse_programs

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from PIL import Image

_LONG = 30.0
"""Seconds from which on a clip is searched by its key frames instead of being decoded."""


def frames_of(path: Path, count: int, side: int, limit: int | None = None) -> tuple[Image.Image, ...]:
    """At most `count` frames, the first among them, in order and as stored, no side longer than `side` pixels.

    Of the first `limit` frames where it is given. `path` may be a folder of pictures. Empty where nothing can be read.
    """
    try:
        if path.is_dir():
            return _of_folder(path, count, side, limit)
        # A pipe would be waited for without end.
        return _of_file(path, count, side, limit) if path.is_file() else ()
    except Exception:  # whatever a decoder raises, the scan has told already
        return ()


def _of_folder(folder: Path, count: int, side: int, limit: int | None) -> tuple[Image.Image, ...]:
    from PIL import Image

    frames = []
    for name in _spread(media_among(names_in(folder), "images")[:limit], count):
        with Image.open(folder / name) as picture:
            refuse_programs(picture)
            picture.draft("RGB", (side, side))
            frame = picture.convert("RGB")
        frame.thumbnail((side, side))
        frames.append(frame)
    return tuple(frames)


def _of_file(path: Path, count: int, side: int, limit: int | None) -> tuple[Image.Image, ...]:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        seconds = container.duration / av.time_base if container.duration else 0.0
        if limit is None and seconds > _LONG:
            found = [_small(frame, side) for frame in _by_seeking(container, count, seconds)]
            return tuple(found)
        if limit is None:
            stream.codec_context.skip_frame = "NONREF"
        return tuple(_spread(_decoded(container, count, side, limit), count))


def _decoded(container: InputContainer, count: int, side: int, limit: int | None) -> list[Image.Image]:
    """Between `count` and twice as many evenly spaced frames, of a clip whose length need not be known."""
    kept: list[Image.Image] = []
    stride = 1
    for index, frame in enumerate(container.decode(container.streams.video[0])):
        if index == limit:
            break
        if index % stride == 0:
            kept.append(_small(frame, side))
        if len(kept) > 2 * count:
            kept, stride = kept[::2], 2 * stride
    return kept


def _by_seeking(container: InputContainer, count: int, seconds: float) -> Iterator[VideoFrame]:
    import av

    shown = None
    for index in range(count):
        container.seek(int(seconds * index / count * av.time_base))
        frame = next(iter(container.decode(container.streams.video[0])), None)
        if frame is not None and frame.pts != shown:
            shown = frame.pts
            yield frame


def _small(frame: VideoFrame, side: int) -> Image.Image:
    scale = min(1.0, side / max(frame.width, frame.height))
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    small: Any = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
    image: Image.Image = small.to_image()
    return image


def _spread(found: list[Any], count: int) -> list[Any]:
    """`count` of them, evenly, first and last included."""
    if len(found) <= count:
        return found
    return [found[index * (len(found) - 1) // (count - 1)] for index in range(count)]
