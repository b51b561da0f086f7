"""Captions that are named nearly as their picture or clip, so that a person sees no difference and musubi-tuner does:
capitals, accents that a Mac writes as characters of their own, spaces at the end, `a.png.txt`, `a.TXT`.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence


def near_names(media: Sequence[str], names: Sequence[str], extension: str) -> tuple[tuple[str, str], ...]:
    """Names of caption files and the names that they should have, sorted.

    `media` are file names of pictures or clips, `names` those of all files. Only captions that belong to nothing are
    for media without a caption, and only where neither could be meant for another one.
    """
    there = set(names)
    lacking, meant = defaultdict(set), defaultdict(list)
    stems = {os.path.splitext(name)[0] for name in media}  # noqa: PTH122 - as musubi-tuner names captions
    for name in media:
        stem = os.path.splitext(name)[0]  # noqa: PTH122
        if stem + extension not in there:
            lacking[_plain(stem)].add(stem)
            lacking[_plain(name)].add(stem)
    for name in names:
        stem, ending = name[: -len(extension)], name[-len(extension) :]
        if ending.lower() == extension.lower() and stem and not (ending == extension and stem in stems):
            meant[_plain(stem)].append(name)
    found: dict[str, list[str]] = defaultdict(list)
    for plain, wanted in lacking.items():
        if len(wanted) == 1 and len(meant.get(plain, ())) == 1:
            found[next(iter(wanted)) + extension].append(meant[plain][0])
    taken = [old for each in found.values() for old in each]
    return tuple(sorted((old[0], new) for new, old in found.items() if len(old) == 1 and taken.count(old[0]) == 1))


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()
