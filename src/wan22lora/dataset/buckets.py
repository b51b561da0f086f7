"""Bucket choice of musubi-tuner, number for number (dataset/bucket.py:74-121 at v0.3.4, same at d0a1930).

Python's floats are the float64 of the numpy code there, so the two agree to the last tie.
"""

from __future__ import annotations

import math
from functools import lru_cache

from wan22lora.dataset.source import Source

STEP = 16
"""Width and height of every bucket are multiples of this many pixels (RESOLUTION_STEPS_WAN)."""

MIN_AREA = 32 * 32
"""Below this area in square pixels musubi-tuner divides by zero while it lists its buckets."""

Size = tuple[int, int]


@lru_cache(maxsize=64)
def bucket_sizes(resolution: Size) -> tuple[Size, ...]:
    """All buckets (width, height) in pixels for a resolution, sorted as musubi-tuner sorts them.

    Raises ValueError for an area under `MIN_AREA`.
    """
    area = resolution[0] * resolution[1]
    if area < MIN_AREA:
        raise ValueError(f"{resolution[0]}x{resolution[1]} is too small for buckets")
    side = int(math.sqrt(area))
    smallest = side // 2 // STEP * STEP
    sizes: set[Size] = set()
    for width in range(smallest, side + STEP, STEP):
        height = area // width // STEP * STEP
        sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def bucket_for(size: Size, source: Source) -> Size:
    """The width and height in pixels to which a picture or clip of this size is resized before encoding.

    Caching a clip always buckets and may enlarge, whatever the dataset says (image_video_dataset.py:698).
    """
    if source.kind == "videos":
        return _choose(size, source.resolution, bucket=True, no_upscale=False)
    return training_bucket(size, source)


def training_bucket(size: Size, source: Source) -> Size:
    """The bucket into which the trainer sorts a latent cache file, from the size in the file's name.

    For pictures that is the size of the picture, and the result is the size of the latents. For clips it is
    the encoded size, and with `bucket=False` one bucket holds them all (image_video_dataset.py:857-878).
    """
    return _choose(size, source.resolution, bucket=source.bucket, no_upscale=source.bucket_no_upscale)


@lru_cache(maxsize=4096)
def _choose(size: Size, resolution: Size, *, bucket: bool, no_upscale: bool) -> Size:
    if not bucket:
        return resolution
    sizes = bucket_sizes(resolution)
    width, height = size
    if no_upscale and width * height <= resolution[0] * resolution[1]:
        return width // STEP * STEP, height // STEP * STEP
    ratio = width / height
    return min(sizes, key=lambda candidate: abs(candidate[0] / candidate[1] - ratio))
