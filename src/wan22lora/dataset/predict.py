"""How many batches and optimizer steps musubi-tuner will make of the datasets, before it runs.

Source: dataset/bucket.py:181-185, dataset/image_video_dataset.py:496-560 and 853-893,
training/trainer_base.py:1640-1643 and 1796-1797 at v0.3.4; d0a1930 counts alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from wan22lora.dataset.buckets import training_bucket
from wan22lora.dataset.latents import latents_of
from wan22lora.dataset.scan import Scan


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


def bucket_loads(scan: Scan) -> tuple[BucketLoad, ...]:
    """What one epoch takes from each bucket of a dataset, sorted by bucket.

    The trainer counts the files in the cache folder: items that share a file count once, and one whose name
    starts with a dot does not count. The last batch of a bucket may be a smaller one.
    """
    source = scan.source
    buckets: dict[str, tuple[int, ...]] = {}
    for item in scan.items:
        for latents in latents_of(item, source):
            if not latents.file.startswith("."):
                width, height, *frames = latents.bucket if item.frames is not None else item.size
                buckets[latents.file] = (*training_bucket((width, height), source), *frames)
    loads = []
    for bucket, files in sorted(Counter(buckets.values()).items()):
        count = files * source.repeats
        loads.append(BucketLoad(bucket, files, count, math.ceil(count / source.batch_size)))
    return tuple(loads)


def batches_per_epoch(scans: Iterable[Scan]) -> int:
    """Batches of one epoch over all datasets; a batch never mixes datasets or buckets."""
    return sum(load.batches for scan in scans for load in bucket_loads(scan))


def steps_per_epoch(batches: int, accumulation: int = 1, processes: int = 1) -> int:
    """Optimizer steps of one epoch; an accumulation that the end of the epoch cuts short counts as a step."""
    return math.ceil(batches / processes / accumulation)


def total_steps(
    batches: int,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    accumulation: int = 1,
    processes: int = 1,
) -> int:
    """Optimizer steps of a training; epochs win over steps, as in musubi-tuner.

    Raises ValueError where neither is given.
    """
    if epochs is not None:
        return epochs * steps_per_epoch(batches, accumulation, processes)
    if steps is None:
        raise ValueError("the length of a training is given in epochs or in steps")
    return steps


def epochs_of(batches: int, steps: int, accumulation: int = 1, processes: int = 1) -> int:
    """Epochs that a number of steps begins, the last perhaps cut short; 0 where nothing trains."""
    each = math.ceil(math.ceil(batches / processes) / accumulation)
    return math.ceil(steps / each) if each else 0
