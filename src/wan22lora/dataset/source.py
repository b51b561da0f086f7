"""One dataset of a run, the items found in it, and the latent cache files that musubi-tuner makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["images", "videos"]
FrameExtraction = Literal["head", "chunk", "slide", "uniform", "full"]


@dataclass(frozen=True)
class Source:
    """One dataset as run.yaml describes it: every value resolved, every path absolute."""

    index: int
    """Position in run.yaml, from 0."""
    kind: Kind
    directory: Path | None
    """Exactly one of `directory` and `jsonl` is given."""
    jsonl: Path | None
    cache: Path
    """musubi-tuner's cache_directory; each dataset needs its own."""
    resolution: tuple[int, int]
    """Width and height in pixels; their product is the area that every bucket stays near."""
    batch_size: int = 1
    repeats: int = 1
    caption_extension: str = ".txt"
    bucket: bool = True
    bucket_no_upscale: bool = False
    control: Path | None = None
    frames: tuple[int, ...] = (1,)
    """musubi-tuner's target_frames, each of the form 4N+1; clips only."""
    frame_extraction: FrameExtraction = "head"
    frame_stride: int = 1
    """Frames between two windows of `slide`."""
    frame_sample: int = 1
    """Windows per clip of `uniform`."""
    max_frames: int = 129
    """Longest clip of `full`, in frames."""
    source_fps: float | None = None
    """Frame rate of the clips; frames are dropped to reach 16 per second. None: every frame is used."""

    @property
    def place(self) -> Path:
        """The folder or the JSONL file that lists the items."""
        place = self.directory if self.directory is not None else self.jsonl
        if place is None:
            raise ValueError("a dataset needs a directory or a JSONL file")
        return place

    @property
    def noun(self) -> str:
        """What one item of this dataset is called in messages."""
        return "picture" if self.kind == "images" else "clip"


@dataclass(frozen=True)
class Item:
    """One picture or clip that musubi-tuner will find and can use."""

    path: Path
    stem: str
    """First part of the names of its cache files."""
    caption: str
    """As musubi-tuner reads it: a caption file is stripped of outer white space, a JSONL caption is not."""
    size: tuple[int, int]
    """Stored width and height in pixels; a camera's rotation tag is not applied, as in musubi-tuner."""
    frames: int | None
    """Clips: frames that remain after musubi-tuner's frame dropping. None for pictures."""
    fps: float | None
    """Clips: frames per second as the file states them. None for pictures and folders of pictures."""


@dataclass(frozen=True)
class Latents:
    """One latent cache file that musubi-tuner will write for an item."""

    file: str
    """Name inside `Source.cache`."""
    bucket: tuple[int, ...]
    """Size that is encoded, in pixels: (width, height), or (width, height, frames) for a clip."""
