"""Captions whose numbering does not match the pictures', as chats that write captions into a zip often leave them.

The WAN 2.1 article warns of it. Only names are looked at: captions in the wrong order under the right names cannot be
told from here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"(.*?)([0-9]{1,9})([^0-9]*)", re.DOTALL)
"""What precedes the last number of a stem, the number, and what follows."""
_FEWEST = 2


@dataclass(frozen=True)
class Mismatch:
    """How the numbers of captions would have to change."""

    shift: int
    """To be added to a caption's number; 0 when the numbers agree and only the rest of the names differs."""
    renames: tuple[tuple[str, str], ...]
    """Stem of a caption and the stem that it should have, in an order in which none overwrites another one."""


def mismatch(pictures: Sequence[str], captions: Sequence[str]) -> Mismatch | None:
    """None when the stems match, or when one shift does not explain why they do not."""
    if set(pictures) == set(captions) or len(pictures) != len(captions) or len(pictures) < _FEWEST:
        return None
    to, of = _by_number(pictures), _by_number(captions)
    if to is None or of is None:
        return None
    shifts = {new - old for new, old in zip(sorted(to), sorted(of), strict=True)}
    if len(shifts) != 1:
        return None
    (shift,) = shifts
    order = sorted(of, reverse=shift > 0)
    return Mismatch(
        shift, tuple((of[number], to[number + shift]) for number in order if of[number] != to[number + shift])
    )


def _by_number(stems: Sequence[str]) -> dict[int, str] | None:
    """The stems by their last number; None where one has none, two share one, or they differ in more than that."""
    numbered: dict[int, str] = {}
    frames = set()
    for stem in stems:
        match = _NUMBER.fullmatch(stem)
        if match is None:
            return None
        head, digits, tail = match.groups()
        frames.add((head, tail))
        numbered[int(digits)] = stem
    return numbered if len(numbered) == len(stems) and len(frames) == 1 else None
