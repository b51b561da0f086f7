"""What pictures and clips are like beyond their size, read once; the rules work on these values alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

from wan22lora.check.clip_frames import frames_of
from wan22lora.check.movement import FRAMES, Movement, movement_in
from wan22lora.check.picture_facts import PictureFacts
from wan22lora.check.seeing import see_pictures
from wan22lora.dataset.clips import read_seconds
from wan22lora.dataset.frames import frames_to_read
from wan22lora.dataset.memory import Memory
from wan22lora.dataset.scan import Scan
from wan22lora.dataset.source import Item, Source

_CLIP_SIDE = 256
"""Pixels of a clip's frames, of which averages are taken."""


@dataclass(frozen=True)
class ClipFacts:
    """One clip of a dataset."""

    item: Item
    seconds: float | None
    """As the container states it; None where it does not, and for a folder of pictures."""
    movement: Movement | None = None
    """None where too few frames can be decoded."""


@dataclass(frozen=True)
class Looked:
    """A dataset with what its files are like."""

    scan: Scan
    pictures: tuple[PictureFacts, ...] = ()
    clips: tuple[ClipFacts, ...] = ()


def look_at(scans: Iterable[Scan], memory: Memory | None = None, *, thorough: bool = False) -> tuple[Looked, ...]:
    """Reads every picture and clip that `memory` does not know as it is now. Never raises for a file.

    With `thorough` all pictures are decoded, otherwise as many as check/seeing.py allows.
    """
    scans = tuple(scans)
    memory = memory or Memory()
    items = [item for scan in scans if scan.source.kind == "images" for item in scan.items]
    pictures = iter(see_pictures(items, memory, thorough=thorough))
    return tuple(
        Looked(scan, pictures=tuple(next(pictures) for _ in scan.items))
        if scan.source.kind == "images"
        else Looked(scan, clips=tuple(_clip_facts(item, scan.source, memory) for item in scan.items))
        for scan in scans
    )


def _clip_facts(item: Item, source: Source, memory: Memory) -> ClipFacts:
    limit = frames_to_read(source)

    def see() -> ClipFacts:
        return ClipFacts(item, read_seconds(item.path), movement_in(frames_of(item.path, FRAMES, _CLIP_SIDE, limit)))

    def from_kept(kept: Any) -> ClipFacts:
        seconds, movement = kept
        return ClipFacts(item, seconds, Movement(*movement) if movement is not None else None)

    return memory.remembered(item.path, f"movement to {limit}", see, from_kept, _as_kept)


def _as_kept(facts: ClipFacts) -> object:
    return [facts.seconds, astuple(facts.movement) if facts.movement is not None else None]
