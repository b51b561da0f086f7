"""Look at a dataset as musubi-tuner will, and say what would go wrong. Nothing is written."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from wan22lora.dataset.checks import check_items, check_settings, has_buckets
from wan22lora.dataset.clips import common_rate, read_clip, read_rate
from wan22lora.dataset.entries import Entry
from wan22lora.dataset.folder import entries_in_folder
from wan22lora.dataset.frames import frames_left, frames_to_read
from wan22lora.dataset.jsonl import entries_in_jsonl
from wan22lora.dataset.listing import media_among, names_in
from wan22lora.dataset.pictures import UnreadableError, read_picture
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


def scan(source: Source) -> Scan:
    """List, open and check a dataset. Never raises for what a person can cause."""
    settings = check_settings(source)
    entries, findings = _entries(source)
    problems = Problems(source.place, source.noun)
    with warnings.catch_warnings():
        # Pillow warns of very large pictures; musubi-tuner reads them.
        warnings.simplefilter("ignore")
        found = [_item(source, entry, problems) for entry in entries]
    items = tuple(item for item in found if item is not None) if has_buckets(source) else ()
    return Scan(source, items, (*settings, *findings, *problems.findings(), *check_items(source, items)))


def clip_fps(source: Source) -> float | None:
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
    return common_rate([read_rate(path) for path in paths])


def _entries(source: Source) -> tuple[list[Entry], list[Finding]]:
    if source.directory is not None:
        return entries_in_folder(source, source.directory)
    return entries_in_jsonl(source, source.place)


def _item(source: Source, entry: Entry, problems: Problems) -> Item | None:
    try:
        if source.kind == "images":
            picture = read_picture(entry.path)
            size, frames, fps, turned = picture.size, None, None, picture.turned
            if picture.deep_grey:
                what = "in grey of 16 bits, which musubi-tuner turns into white"
                problems.add("deep-grey", what, entry.name, entry.path, fix="Save them with 8 bits.")
        else:
            clip = read_clip(entry.path, frames_to_read(source))
            size, frames, fps, turned = clip.size, frames_left(clip.frames, source), clip.fps, clip.turned
    except UnreadableError as problem:
        what = "that cannot be read, at which musubi-tuner stops while caching"
        fix = "Replace or remove them."
        problems.add("unreadable", what, f"{entry.name} ({problem})", entry.path, fix=fix)
        return None
    if turned:
        what = "with a rotation tag, which musubi-tuner ignores: they train lying on their side or mirrored"
        fix = "Turn the pixels themselves and drop the tag."
        problems.add("rotated", what, entry.name, entry.path, fix=fix, level="warning")
    return Item(entry.path, entry.stem, entry.caption, size, frames, fps)
