"""Look at a dataset as musubi-tuner will, and say what would go wrong. Nothing is written."""

from __future__ import annotations

import warnings
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path

from wan22lora.dataset.checks import check_items, check_settings, has_buckets
from wan22lora.dataset.clips import Clip, common_rate, read_clip, read_rate
from wan22lora.dataset.entries import Entry
from wan22lora.dataset.folder import entries_in_folder
from wan22lora.dataset.frames import frames_left, frames_to_read
from wan22lora.dataset.jsonl import entries_in_jsonl
from wan22lora.dataset.listing import media_among, names_in
from wan22lora.dataset.loads import BucketLoad, loads_of
from wan22lora.dataset.memory import Memory, number_kept
from wan22lora.dataset.pictures import Picture, UnreadableError, read_picture
from wan22lora.dataset.problems import Problems
from wan22lora.dataset.source import Item, Source
from wan22lora.errors import Finding


@dataclass(frozen=True)
class Scan:
    """What a dataset holds."""

    source: Source
    items: tuple[Item, ...]
    """In musubi-tuner's order, without those it cannot use."""
    findings: tuple[Finding, ...]
    """Errors and warnings, each about one kind of problem."""
    uncaptioned: tuple[Item, ...] = ()
    """Pictures and clips that only lack a caption; theirs is empty."""

    @cached_property
    def loads(self) -> tuple[BucketLoad, ...]:
        """What one epoch takes from each bucket, sorted by bucket. Counted once, as much asks for it."""
        return loads_of(self.items, self.source)


def scan(source: Source, memory: Memory | None = None) -> Scan:
    """List and check a dataset, and open what `memory` does not know as it is now.

    Never raises for what a person can cause.
    """
    memory = memory or Memory()
    settings = check_settings(source)
    entries, findings = _entries(source)
    problems = Problems(source.place, source.noun)
    with warnings.catch_warnings():
        # Pillow warns of very large pictures; musubi-tuner reads them.
        warnings.simplefilter("ignore")
        found = [(entry, _item(source, entry, problems, memory)) for entry in entries]
    sized = [(entry, item) for entry, item in found if item is not None] if has_buckets(source) else []
    items = tuple(item for entry, item in sized if entry.caption is not None)
    uncaptioned = tuple(item for entry, item in sized if entry.caption is None)
    about_items = check_items(source, tuple(item for _, item in sized))
    return Scan(source, items, (*settings, *findings, *problems.findings(), *about_items), uncaptioned)


def clip_fps(source: Source, memory: Memory | None = None) -> float | None:
    """Frames per second that all clips of a dataset share; None where they differ or one cannot be read."""
    if source.kind != "videos":
        return None
    if source.directory is None:
        paths = [entry.path for entry in _entries(source)[0]]
    else:
        try:
            paths = [source.directory / name for name in media_among(names_in(source.directory), "videos")]
        except OSError:
            return None
    memory = memory or Memory()
    return common_rate([_rate(path, memory) for path in paths])


def _entries(source: Source) -> tuple[list[Entry], list[Finding]]:
    if source.directory is not None:
        return entries_in_folder(source, source.directory)
    return entries_in_jsonl(source, source.place)


def _item(source: Source, entry: Entry, problems: Problems, memory: Memory) -> Item | None:
    try:
        if source.kind == "images":
            picture = _picture(entry.path, memory)
            size, frames, fps, turned = picture.size, None, None, picture.turned
            if picture.deep_grey:
                what = "in grey of 16 bits, which musubi-tuner turns into white"
                problems.add("deep-grey", what, entry.name, entry.path, fix="Save them with 8 bits.")
        else:
            clip = _clip(entry.path, frames_to_read(source), memory)
            size, frames, fps, turned = clip.size, frames_left(clip.frames, source), clip.fps, clip.turned
    except UnreadableError as problem:
        what = "that cannot be read, at which musubi-tuner stops while caching"
        fix = "Replace or remove them."
        problems.add("unreadable", what, f"{entry.name} ({problem})", entry.path, fix=fix)
        return None
    if turned:
        what = "with a rotation tag, which musubi-tuner ignores: they train lying on their side or mirrored"
        fix = "`wan22lora check … --fix` turns the pixels themselves and drops the tag."
        if source.kind == "videos":
            fix = "Encode them anew: `ffmpeg -i OLD.mp4 NEW.mp4` turns the frames and drops the tag."
        problems.add("rotated", what, entry.name, entry.path, fix=fix, level="warning")
    return Item(entry.path, entry.stem, entry.caption or "", size, frames, fps)


def _picture(path: Path, memory: Memory) -> Picture:
    return memory.remembered(
        path, "picture", lambda: read_picture(path), lambda kept: Picture((kept[0][0], kept[0][1]), *kept[1:]), astuple
    )


def _clip(path: Path, limit: int | None, memory: Memory) -> Clip:
    return memory.remembered(
        path,
        f"clip to {limit}",
        lambda: read_clip(path, limit),
        lambda kept: Clip((kept[0][0], kept[0][1]), *kept[1:]),
        astuple,
    )


def _rate(path: Path, memory: Memory) -> float | None:
    return memory.remembered(path, "rate", lambda: read_rate(path), number_kept, lambda rate: [rate])
