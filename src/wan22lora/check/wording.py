"""Rules about what captions say: the trigger's own look told differently each time, and what nobody wants learned.

The person article asks for the same words across captions and for nothing that is not to be learned; the WAN 2.1
article for a style that every caption calls the same. A short list of words is looked for, so much is missed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from wan22lora.check.remark import Remark, named
from wan22lora.dataset.problems import counted
from wan22lora.dataset.scan import Scan
from wan22lora.dataset.source import Item
from wan22lora.errors import Named


def _first_of_each(*lines: str) -> dict[str, str]:
    """Each word to the first one of its line, which means the same."""
    return {word: line.split()[0] for line in lines for word in line.split()}


_COLOURS = _first_of_each(
    *("black", "brown", "white", "silver", "blue", "green", "hazel", "amber", "pink", "purple", "orange"),
    *("blonde blond golden", "red ginger auburn", "grey gray"),
)
_PART = re.compile(rf"\b({'|'.join(_COLOURS)})(?:[ -]+[a-z]+){{0,2}}[ -]+(hair|eyes|beard|fur)\b", re.IGNORECASE)
_MEDIA = _first_of_each(
    *("photo photograph snapshot", "painting", "watercolour watercolor", "anime", "manga", "cartoon", "comic"),
    *("sketch", "drawing", "render", "illustration"),
)
_MEDIUM = re.compile(rf"\b({'|'.join(_MEDIA)})\b", re.IGNORECASE)
_SHARE = 0.5
"""Of the captions that tell a part's look, those that must agree before the others count as slips: with fewer, several
persons or things are shown.
"""
_UNWANTED = re.compile(
    r"\b(watermark|signature|time ?stamp|subtitles?|jpe?g artifacts|compression artifacts|speech bubble|url)s?\b",
    re.IGNORECASE,
)


def wording_remarks(scan: Scan, trigger: str | None) -> Iterator[Remark]:
    """For one dataset; without a trigger there is nothing whose look could be its own."""
    if trigger is not None:
        yield from _varying_looks(scan, trigger)
    unwanted = tuple(
        named(item.path, match[0].lower()) for item in scan.items if (match := _UNWANTED.search(item.caption))
    )
    if unwanted:
        yield Remark(
            "caption-unwanted",
            "note",
            str(scan.source.place),
            f"{counted(len(unwanted), 'caption')} with something that hardly anybody wants to be learned",
            "what is to be seen is learned, named or not; naming it keeps it at most out of other prompts",
            f"Cut it off or paint over it, then take it out of the caption; or leave the {scan.source.noun} out.",
            unwanted,
        )


def _varying_looks(scan: Scan, trigger: str) -> Iterator[Remark]:
    looks: dict[str, dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in scan.items:
        if trigger in item.caption:
            for what, look in _looks_told(item.caption.replace(trigger, " ")):
                looks[what][look].append(item)
    told: list[Named] = []
    for what, by_look in looks.items():
        ranked = sorted(by_look.items(), key=lambda each: -len(each[1]))
        total = sum(len(items) for _, items in ranked)
        if len(ranked) > 1 and len(ranked[0][1]) >= _SHARE * total and len(ranked[0][1]) > 1:
            told.append(Named(_line(what, *ranked[0])))
            told += [Named(_line(what, look, items), tuple(item.path for item in items)) for look, items in ranked[1:]]
    if told:
        yield Remark(
            "look-varies",
            "note",
            str(scan.source.place),
            f"captions with `{trigger}` tell the same thing's look differently",
            "what is named otherwise each time is not learned as the trigger's own; both articles name it the same"
            " throughout (told from a short list of words for hair, eyes, beard, fur and the kind of picture)",
            "If it belongs to the trigger, name it alike in every caption, or in none.",
            tuple(told),
        )


def _looks_told(caption: str) -> Iterator[tuple[str, str]]:
    """At most one look of each part; of a part that is named twice, as of two persons, none."""
    parts: dict[str, set[str]] = defaultdict(set)
    for colour, part in _PART.findall(caption):
        parts[part.lower()].add(_COLOURS[colour.lower()])
    yield from ((part, looks.pop()) for part, looks in parts.items() if len(looks) == 1)
    medium = _MEDIUM.search(caption)
    if medium:
        yield "kind of picture", _MEDIA[medium[1].lower()]


def _line(what: str, look: str, items: Sequence[Item]) -> str:
    return f"{what}: {look} ({counted(len(items), 'caption')})"
