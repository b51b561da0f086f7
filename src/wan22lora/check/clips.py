"""Rules about clips beyond those of `train` (dataset/checks.py): how long they are, how much of them is used, and
whether anything moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wan22lora.check.facts import ClipFacts, Looked
from wan22lora.check.movement import Movement
from wan22lora.check.remark import Remark, named
from wan22lora.dataset.frames import TARGET_FPS, frame_limit
from wan22lora.dataset.problems import counted
from wan22lora.dataset.source import Source
from wan22lora.kinds import FindingKind

SHORTEST, LONGEST = 4.0, 8.0
"""Seconds of a clip, after the person article."""
_ROUNDING = 0.1


def clip_remarks(looked: Looked) -> Iterator[Remark]:
    source = looked.scan.source
    timed = [(each, each.seconds) for each in looked.clips if each.seconds is not None]
    odd = [(each, seconds) for each, seconds in timed if not SHORTEST - _ROUNDING <= seconds <= LONGEST + _ROUNDING]
    if odd:
        yield Remark(
            "clip-length",
            "note",
            str(source.place),
            f"{counted(len(odd), 'clip')} not of 4 to 8 seconds",
            "the person article trains on clips of 4 to 8 seconds",
            "Cut long ones; short ones need fewer target frames.",
            tuple(named(each.item.path, f"{seconds:.1f} s") for each, seconds in odd),
        )
    yield from _unused(source, timed)
    yield from _nothing_moves(looked)


def _nothing_moves(looked: Looked) -> Iterator[Remark]:
    rules: list[tuple[FindingKind, Callable[[Movement], bool], str, str, str]] = [
        (
            "clip-blank",
            lambda movement: movement.blank,
            "black or of one colour",
            "nothing is to be seen in what is trained of them, and the LoRA learns that",
            "Remove them, or cut off what is blank.",
        ),
        (
            "clip-begins-black",
            lambda movement: movement.begins_black and not movement.blank,
            "black at the beginning",
            "the LoRA learns to begin with black; image-to-video takes the first frame for the picture",
            "Cut off what is black.",
        ),
        (
            "clip-still",
            lambda movement: movement.still,
            "without movement",
            "a clip that stands still teaches to stand still",
            "Train them as pictures, or remove them.",
        ),
    ]
    for kind, is_it, what, why, fix in rules:
        found = tuple(named(each.item.path) for each in looked.clips if each.movement and is_it(each.movement))
        if found:
            message = f"{counted(len(found), 'clip')} {what}"
            yield Remark(kind, "warning", str(looked.scan.source.place), message, why, fix, found)


def _unused(source: Source, timed: list[tuple[ClipFacts, float]]) -> Iterator[Remark]:
    limit = frame_limit(source)
    if limit is None:
        return
    unused = []
    for each, seconds in timed:
        rate = TARGET_FPS if source.source_fps is not None else each.item.fps
        used = limit / rate if rate else seconds
        if seconds > 2 * used:
            unused.append(named(each.item.path, f"{used:.1f} of {seconds:.1f} s"))
    if unused:
        yield Remark(
            "clip-unused",
            "note",
            str(source.place),
            f"of {counted(len(unused), 'clip')} less than half is trained",
            f"extraction `{source.frame_extraction}` takes {counted(limit, 'frame')} from the beginning and no more",
            "`frame_extraction: chunk` or `uniform` takes from all of a clip.",
            tuple(unused),
        )
