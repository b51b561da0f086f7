"""Which answer belongs to which picture or clip."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from wan22lora.captions.answer import Answer
from wan22lora.captions.place import Medium
from wan22lora.check.numbering import mismatch
from wan22lora.dataset.listing import CLIP_EXTENSIONS, PICTURE_EXTENSIONS
from wan22lora.dataset.problems import counted
from wan22lora.errors import SpecError

How = Literal["name", "order"]
_MEDIA = {extension.lower() for extension in (*PICTURE_EXTENSIONS, *CLIP_EXTENSIONS)}
_TEXTS = {".txt", ".md", ".text", ".caption", ".cap"}


@dataclass(frozen=True)
class Matching:
    """The pairs, how they were found, and what is left on both sides."""

    how: How
    why: str
    """Follows `matched by name: `."""
    pairs: tuple[tuple[Medium, Answer], ...]
    left_answers: tuple[Answer, ...]
    left_media: tuple[Medium, ...]

    @property
    def renumbered(self) -> bool:
        """Some answer goes to a picture of another name."""
        return any(stem_of_answer(answer) != _stem(medium) for medium, answer in self.pairs)

    @property
    def doubtful(self) -> bool:
        """Names fit in part, and on both sides something is left: the numbers may be shifted."""
        return self.how == "name" and bool(self.pairs and self.left_answers and self.left_media)


def match(
    media: Sequence[Medium], answers: Sequence[Answer], how: How | None = None, *, lacking: Sequence[Medium] = ()
) -> Matching:
    """By name where names fit, by order where they cannot; `how` decides instead.

    `lacking` are the media without a caption: as many answers with names of their own are meant for them.
    """
    by_name = _by_name(media, answers)
    if how == "name" or (how is None and not by_name.left_answers):
        return by_name
    if how == "order":
        return _by_order(media, answers, "as you asked")
    found = mismatch([_stem(medium) for medium in media], [stem_of_answer(answer) for answer in answers])
    if found is not None:
        by = f"the numbers are shifted by {abs(found.shift)}" if found.shift else "the numbers are written otherwise"
        return _by_order(media, answers, by)
    if by_name.pairs:
        return by_name
    noun = "clip" if all(medium.kind == "videos" for medium in media) else "picture"
    if len(answers) == len(media):
        return _by_order(media, answers, f"no name fits, and there are as many answers as {noun}s")
    if len(answers) == len(lacking):
        why = f"no name fits, and there are as many answers as {noun}s without a caption"
        return _by_order(lacking, answers, why)
    return by_name


def how_named(name: str | None) -> How | None:
    """What `--by` says. Raises SpecError for another word."""
    if name is not None and name not in ("name", "order"):
        raise SpecError(f"--by cannot be {name}: it is name or order.")
    return "name" if name == "name" else "order" if name == "order" else None


def in_counting_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts `2` before `10`, and otherwise as text does."""
    parts = re.findall(r"[0-9]+|[^0-9]+", unicodedata.normalize("NFC", name).casefold())
    return tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts)


def stem_of_answer(answer: Answer) -> str:
    """The name of the picture or clip that an answer names: `7` for `captions/7.txt` and `7.png.txt`."""
    name = PurePosixPath(answer.name.replace("\\", "/")).name
    for known in (_TEXTS, _MEDIA):
        stem, extension = os.path.splitext(name)  # noqa: PTH122 - a name such as `.txt` has no stem
        if extension.lower() in known:
            name = stem
    return name


def _by_order(media: Sequence[Medium], answers: Sequence[Answer], why: str) -> Matching:
    theirs = sorted(answers, key=lambda answer: in_counting_order(answer.name))
    ours = sorted(media, key=lambda medium: (str(medium.path.parent), in_counting_order(medium.path.name)))
    both = min(len(ours), len(theirs))
    if len(ours) != len(theirs):
        why += f"; there are {counted(len(theirs), 'answer')} for {len(ours)}"
    return Matching(
        "order", why, tuple(zip(ours[:both], theirs[:both], strict=True)), tuple(theirs[both:]), tuple(ours[both:])
    )


def _by_name(media: Sequence[Medium], answers: Sequence[Answer]) -> Matching:
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for alike in (_with_folder, _plain, _folded, _letters_alone):
        ours, theirs = defaultdict(list), defaultdict(list)
        for index, medium in enumerate(media):
            if index not in pairs:
                ours[alike(medium.path.parent.name, _stem(medium))].append(index)
        for index, answer in enumerate(answers):
            if index not in taken:
                parent = PurePosixPath(answer.name.replace("\\", "/")).parent.name
                theirs[alike(parent, stem_of_answer(answer))].append(index)
        for name, indices in ours.items():
            if name and len(indices) == 1 and len(theirs.get(name, ())) == 1:
                pairs[indices[0]] = theirs[name][0]
                taken.add(theirs[name][0])
    why = "the names fit" if len(taken) == len(answers) else f"{len(taken)} of {counted(len(answers), 'name')} fit"
    return Matching(
        "name",
        why,
        tuple((medium, answers[pairs[index]]) for index, medium in enumerate(media) if index in pairs),
        tuple(answer for index, answer in enumerate(answers) if index not in taken),
        tuple(medium for index, medium in enumerate(media) if index not in pairs),
    )


_Alike = Callable[[str, str], str]


def _with_folder(folder: str, stem: str) -> str:
    return f"{folder}/{stem}" if folder else ""


def _plain(_: str, stem: str) -> str:
    return stem


def _folded(_: str, stem: str) -> str:
    return unicodedata.normalize("NFC", stem).casefold()


def _letters_alone(folder: str, stem: str) -> str:
    return "".join(character for character in _folded(folder, stem) if character.isalnum())


def _stem(medium: Medium) -> str:
    return Path(os.path.splitext(medium.path.name)[0]).name  # noqa: PTH122 - as musubi-tuner
