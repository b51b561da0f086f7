"""Settings of a dataset with which musubi would train something else than was meant. BK is dataset/bucket.py."""

from __future__ import annotations

from collections.abc import Iterator

from wan22lora.errors import Finding
from wan22lora.spec.resolved import Dataset

CLIP_KEYS = ("frames", "frame_extraction", "frame_stride", "frame_sample", "max_frames", "source_fps")
"""What means nothing for pictures."""


def broken_by_dataset(dataset: Dataset) -> Iterator[Finding]:
    """What one dataset's settings break."""
    settings = dataset.settings
    if settings.resolution is None:
        yield Finding(dataset.where("resolution"), "is missing: say how large to train", "data: {resolution: 960}")
    else:
        sides = settings.resolution if isinstance(settings.resolution, tuple) else (settings.resolution,) * 2
        if min(sides) < 64:
            yield Finding(dataset.where("resolution"), f"{min(sides)} pixels are too few for Wan", "960, or [832, 480]")
        elif not settings.bucket and any(side % 16 for side in sides):
            text = "must be multiples of 16 when `bucket` is false: musubi rounds nothing then (BK:86-88)"
            yield Finding(dataset.where("resolution"), text, str([side // 16 * 16 for side in sides]))
    frames = [settings.frames] if isinstance(settings.frames, int) else settings.frames or []
    for count in frames:
        if count < 1 or count % 4 != 1:
            nearest = max(1, (count - 1) // 4 * 4 + 1)
            text = f"{count} is not 4N+1; musubi would take {nearest} with a line in its log that nobody reads"
            yield Finding(dataset.where("frames"), text, f"{nearest} or {nearest + 4}")
    if dataset.kind == "videos" and not frames and settings.frame_extraction != "full":
        text = "is missing: musubi would take a single frame of each clip"
        yield Finding(dataset.where("frames"), text, "data: {frames: 81}")
    if dataset.kind == "images":
        for key in CLIP_KEYS:
            origin = dataset.origins.get(key)
            if origin is not None and origin.path[0] == "datasets":
                yield Finding(str(origin), "is for clips; these are pictures", "remove it")
    for key, mode in (("frame_stride", "slide"), ("frame_sample", "uniform"), ("max_frames", "full")):
        if getattr(settings, key) is not None and settings.frame_extraction != mode and dataset.kind == "videos":
            yield Finding(dataset.where(key), f"is ignored unless frame_extraction is {mode}", "remove it")
