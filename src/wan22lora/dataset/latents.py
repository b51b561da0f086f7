"""Names of musubi-tuner's cache files (dataset/image_video_dataset.py:152-171, 773-793 at v0.3.4)."""

from __future__ import annotations

import os

from wan22lora.dataset.buckets import bucket_for
from wan22lora.dataset.frames import windows
from wan22lora.dataset.source import Item, Latents, Source


def stem_of(path: str) -> str:
    """First part of the cache names of an item, from its path exactly as musubi-tuner holds it."""
    # pathlib would drop a trailing slash, which for musubi-tuner makes the name empty.
    return os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122


def latents_of(item: Item, source: Source) -> tuple[Latents, ...]:
    """The latent cache files of an item: one for a picture, one for each window of a clip, perhaps none.

    The name holds the stored size of a picture, but the encoded size of a clip, which musubi-tuner resizes as
    it reads it. So the name of a picture's latents stays the same when the resolution changes.
    """
    bucket = bucket_for(item.size, source)
    if item.frames is None:
        return (Latents(f"{item.stem}_{_size(item.size)}_wan.safetensors", bucket),)
    return tuple(
        Latents(f"{item.stem}_{start:05d}-{length:03d}_{_size(bucket)}_wan.safetensors", (*bucket, length))
        for start, length in windows(item.frames, source)
    )


def text_file(item: Item) -> str:
    """Name of the caption's cache file; all windows of a clip share it."""
    return f"{item.stem}_wan_te.safetensors"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]:04d}x{size[1]:04d}"
