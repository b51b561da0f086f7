"""Which frames of a clip musubi-tuner reads and which windows it cuts from them.

Source: dataset/media_utils.py:140-261 (reading), dataset/image_video_dataset.py:665-671 and 741-773 (windows)
at v0.3.4; d0a1930 does the same.
"""

from __future__ import annotations

import math

from wan22lora.dataset.source import Source

TARGET_FPS = 16.0
"""Frames per second that Wan is trained on (TARGET_FPS_WAN)."""

Window = tuple[int, int]
"""First frame and number of frames."""


def frame_limit(source: Source) -> int | None:
    """Index after dropping at which musubi-tuner stops reading: the longest target of `head`, else None."""
    takes_head = source.frame_extraction == "head" or (
        source.frame_extraction == "uniform" and source.frame_sample == 1
    )
    return max(source.frames) if takes_head else None


def frames_to_read(source: Source) -> int | None:
    """Frames of the file that settle the outcome, at most two more than musubi-tuner reads; None for all."""
    limit = frame_limit(source)
    if limit is None:
        return None
    per_target = 1.0 if source.source_fps is None else source.source_fps / TARGET_FPS
    return math.ceil(limit * per_target) + 2


def frames_left(stored: int, source: Source) -> int:
    """Frames that remain of `stored` ones after dropping to 16 per second and after the limit of `head`.

    The position is a running sum of floats, as in musubi-tuner: a closed formula would be off by one for some
    rates. A clip slower than 16 frames per second loses none but reaches the limit early.
    """
    limit = frame_limit(source)
    if source.source_fps is None:
        return stored if limit is None else min(stored, limit)
    step = TARGET_FPS / source.source_fps
    position = 0.0
    previous = -1
    left = 0
    for _ in range(stored):
        index = int(position)
        position += step
        if index == previous:
            continue
        previous = index
        if limit is not None and index >= limit:
            break
        left += 1
    return left


def windows(frames: int, source: Source) -> tuple[Window, ...]:
    """The windows that musubi-tuner cuts from a clip with this many frames left; none for a clip too short.

    Each appears once: equal windows (`uniform` on a short clip) share one cache file.
    """
    if source.frame_extraction == "full":
        length = min(frames, source.max_frames)
        return ((0, (length - 1) // 4 * 4 + 1),) if frames else ()
    found: dict[Window, None] = {}
    for target in sorted(set(source.frames)):
        for start in _starts(frames, target, source):
            found[start, target] = None
    return tuple(found)


def _starts(frames: int, target: int, source: Source) -> range | list[int]:
    if frames < target:
        return []
    if source.frame_extraction == "chunk":
        return range(0, frames - target + 1, target)
    if source.frame_extraction == "slide":
        return range(0, frames - target + 1, source.frame_stride)
    if source.frame_extraction == "uniform" and source.frame_sample != 1:
        return _evenly_spaced(frames - target, source.frame_sample)
    return [0]


def _evenly_spaced(last: int, count: int) -> list[int]:
    """numpy.linspace(0, last, count, dtype=int) without numpy; `count` is at least 2."""
    step = last / (count - 1)
    return [math.floor(index * step) for index in range(count - 1)] + [last]
