"""What an epoch takes from each bucket of a dataset.

Source: dataset/bucket.py:181-185, dataset/image_video_dataset.py:504-560 and 857-893 at v0.3.4; d0a1930 counts alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from wan22lora.dataset.buckets import training_bucket
from wan22lora.dataset.latents import latents_of
from wan22lora.dataset.problems import counted
from wan22lora.dataset.source import Item, Source


@dataclass(frozen=True)
class BucketLoad:
    """One bucket of one dataset in one epoch."""

    bucket: tuple[int, ...]
    """(width, height) in pixels, or (width, height, frames). musubi-tuner's log says (width, height, 9) for
    pictures."""
    files: int
    """Latent cache files."""
    count: int
    """Files times repeats: the number in musubi-tuner's log."""
    batches: int

    def __str__(self) -> str:
        """`832×480, 49 frames: 12 in 6 batches`."""
        width, height, *frames = self.bucket
        shape = ", ".join([f"{width}×{height}", *(counted(each, "frame") for each in frames)])
        return f"{shape}: {self.count:,} in {counted(self.batches, 'batch')}"


def loads_of(items: Iterable[Item], source: Source) -> tuple[BucketLoad, ...]:
    """What one epoch takes from each bucket of a dataset, sorted by bucket.

    The trainer counts the files in the cache folder: items that share a file count once, and one whose name
    starts with a dot does not count. The last batch of a bucket may be a smaller one.
    """
    buckets: dict[str, tuple[int, ...]] = {}
    for item in items:
        for latents in latents_of(item, source):
            if not latents.file.startswith("."):
                width, height, *frames = latents.bucket if item.frames is not None else item.size
                buckets[latents.file] = (*training_bucket((width, height), source), *frames)
    loads = []
    for bucket, files in sorted(Counter(buckets.values()).items()):
        count = files * source.repeats
        loads.append(BucketLoad(bucket, files, count, math.ceil(count / source.batch_size)))
    return tuple(loads)
