"""The datasets of a spec in the form that dataset/ reads, defaults filled in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wan22lora.dataset.scan import clip_fps
from wan22lora.dataset.source import Source
from wan22lora.spec.resolved import Dataset, Spec


def cache_folder_of(run_folder: Path) -> Path:
    """Where all caches of a run live; each dataset has a numbered folder of its own, as musubi demands."""
    return run_folder / "cache"


def sources(spec: Spec) -> Iterator[Source]:
    """One Source per dataset. `source_fps: auto` is read from the clips."""
    for index, dataset in enumerate(spec.datasets):
        yield _source(index, dataset, cache_folder_of(spec.folder) / str(index))


def _source(index: int, dataset: Dataset, cache: Path) -> Source:
    settings = dataset.settings
    resolution = settings.resolution or 0
    frames = [settings.frames] if isinstance(settings.frames, int) else settings.frames or [1]
    source = Source(
        index=index,
        kind="videos" if dataset.kind == "videos" else "images",
        directory=dataset.directory,
        jsonl=dataset.jsonl,
        cache=cache,
        resolution=resolution if isinstance(resolution, tuple) else (resolution, resolution),
        batch_size=settings.batch_size or 1,
        repeats=settings.repeats or 1,
        caption_extension=settings.caption_extension or ".txt",
        bucket=settings.bucket is not False,
        bucket_no_upscale=bool(settings.bucket_no_upscale),
        frames=tuple(sorted(set(frames))),
        frame_extraction=settings.frame_extraction or "head",
        frame_stride=settings.frame_stride or 1,
        frame_sample=settings.frame_sample or 1,
        max_frames=settings.max_frames or 129,
    )
    if source.kind == "images" or settings.source_fps == "as-is":
        return source
    if isinstance(settings.source_fps, float):
        return replace(source, source_fps=settings.source_fps)
    return replace(source, source_fps=clip_fps(source))
