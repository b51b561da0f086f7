"""Settings of a dataset with which musubi would train something else than was meant. BK is dataset/bucket.py."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.errors import Finding
from wan22lora.spec.resolved import Dataset

CLIP_KEYS = ("frames", "frame_extraction", "frame_stride", "frame_sample", "max_frames", "source_fps")
"""What means nothing for pictures."""


def broken_by_dataset(dataset: Dataset) -> Iterator[Finding]:
    """What one dataset's settings break."""
    yield from _resolution(dataset)
    yield from _frames(dataset)
    yield from _clip_keys(dataset)


def _resolution(dataset: Dataset) -> Iterator[Finding]:
    where, resolution = dataset.where("resolution"), dataset.settings.resolution
    if resolution is None:
        yield Finding(where, "is missing: say how large to train", "data: {resolution: 960}")
        return
    sides = resolution if isinstance(resolution, tuple) else (resolution,) * 2
    if min(sides) < 64:
        yield Finding(where, f"{min(sides)} pixels are too few for Wan", "960, or [832, 480]")
    elif not dataset.settings.bucket and any(side % 16 for side in sides):
        text = "must be multiples of 16 when `bucket` is false: musubi rounds nothing then"  # BK:86-88
        yield Finding(where, text, str([side // 16 * 16 for side in sides]))


def _frames(dataset: Dataset) -> Iterator[Finding]:
    where, settings = dataset.where("frames"), dataset.settings
    frames = [settings.frames] if isinstance(settings.frames, int) else settings.frames or []
    for count in frames:
        if count < 1 or count % 4 != 1:
            nearest = max(1, (count - 1) // 4 * 4 + 1)
            text = f"{count} is not 4N+1; musubi would take {nearest} with a line in its log that nobody reads"
            yield Finding(where, text, f"{nearest} or {nearest + 4}")
    if dataset.kind == "videos" and not frames and settings.frame_extraction != "full":
        text = "is missing: musubi would take a single frame of each clip"
        yield Finding(where, text, "data: {frames: 81}")


def _clip_keys(dataset: Dataset) -> Iterator[Finding]:
    """Of pictures those that were written on the dataset itself: under `data:` they may be for others."""
    settings = dataset.settings
    if dataset.kind == "images":
        for key in CLIP_KEYS:
            origin = dataset.origins.get(key)
            if origin is not None and origin.path[0] == "datasets":
                yield Finding(str(origin), "is for clips; these are pictures", "remove it")
        return
    for key, mode in (("frame_stride", "slide"), ("frame_sample", "uniform"), ("max_frames", "full")):
        if getattr(settings, key) is not None and settings.frame_extraction != mode:
            yield Finding(dataset.where(key), f"is ignored unless frame_extraction is {mode}", "remove it")
