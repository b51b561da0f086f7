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
    *("black", "brown brunette", "white", "silver", "blue", "green", "hazel", "amber", "pink", "purple", "orange"),
    *("blonde blond golden", "red ginger auburn redhead redheaded", "grey gray", "dark"),
)
_PART = re.compile(
    r"\b(hair|eye|beard|fur)(?:s|ed)?\b"
    r"(?!\W(?:ribbon|clip|tie|band|bow|pin|net|brush|dryer|ornament|accessor|shadow|liner|lash|patch|glass|brow))",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"(?:\b[a-z]+[ -]+){1,4}$", re.IGNORECASE)
"""The words before a part that no comma keeps from it."""
_FAR = 60
"""Characters in which those are looked for."""
_PART_IS = re.compile(rf"\b(hair|eye|beard|fur)s? (?:is|are) (?:[a-z]+ )?({'|'.join(_COLOURS)})\b", re.IGNORECASE)
_WHOSE = re.compile(r"\b(blonde?|brunette|redhead(?:ed)?)\b", re.IGNORECASE)
"""Words that tell of hair without the word."""
_OTHER_THING = re.compile(r"\b(?:and|or|with|in|on|of|her|his|their|its)\b", re.IGNORECASE)
"""What stands before one of these is about something else."""
_PARTS = {"eye": "eyes"}
_MEDIA = _first_of_each(
    *("photo photograph snapshot selfie", "painting", "watercolour watercolor", "anime", "manga", "cartoon", "comic"),
    *("sketch", "drawing", "render", "illustration"),
)
_MEDIUM = re.compile(
    rf"(?:(?!\b(?:at|on|with|by|near|to|from|of|holding|beside|under|over|behind|and)\b)[^.])*?"
    rf"\b({'|'.join(_MEDIA)})\b(?! ?(?:book|frame|shop|album|store))",
    re.IGNORECASE,
)
"""The kind of picture, told at the beginning; one that somebody looks at or holds is a thing in the picture."""
_BEGINNING = 200
"""Characters of a caption in which it is looked for."""
_STYLE_OF = re.compile(r"\b(?:in the style of|style of)\b", re.IGNORECASE)
_SHARE = 0.5
"""Of the captions that tell a part's look, those that must agree before the others count as slips: with fewer, several
persons or things are shown.
"""
_PLACE = r"(?:the )?(?:\w+ )?(?:corner|bottom|top|edge|side|border)s?"
_UNWANTED = re.compile(
    r"\b(?:watermark(?:s|ed)?|time[ -]?stamp(?:s|ed)?|subtitles?|jpe?g artifacts|compression artifacts|urls?"
    r"|speech bubbles?|text overlays?|overlaid text|overlay text|letterbox(?:ed|ing)?"
    # Not a signature move, style or smile.
    r"|signatures?(?=\W*$|\W*[,.;:)]| (?:in|at|on|near|of|by|is|are|visible|below|along)\b)"
    # Not one on a shirt.
    rf"|logos?(?= (?:in|at|on|near|along) {_PLACE}\b)"
    rf"|black bars(?= (?:above and below|on both sides|(?:at|on|along) {_PLACE}\b)))\b",
    re.IGNORECASE,
)
_HINTS = ("mark", "stamp", "title", "artifacts", "url", "bubble", "text", "letterbox", "signature", "logo", "bars")
"""Without one of them there is nothing unwanted; looking for these is quick."""
_NOT_THERE = re.compile(r"\b(?:no|without|without an?|without any|free of) $", re.IGNORECASE)


def wording_remarks(scan: Scan, trigger: str | None, *, style: bool = False) -> Iterator[Remark]:
    """For one dataset; without a trigger there is nothing whose look could be its own.

    With `style` the trigger's own look is the kind of picture, and persons in it may look as they like.
    """
    if trigger is not None:
        yield from _varying_looks(scan, trigger, style)
    unwanted = tuple(named(item.path, word) for item in scan.items if (word := _unwanted_in(item.caption)))
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


def _unwanted_in(caption: str) -> str:
    """The first thing of the kind that a caption does not deny; empty where there is none."""
    low = caption.lower()
    if not any(hint in low for hint in _HINTS):
        return ""
    for match in _UNWANTED.finditer(caption):
        if not _NOT_THERE.search(caption[max(0, match.start() - 12) : match.start()]):
            return match[0].lower()
    return ""


def _varying_looks(scan: Scan, trigger: str, style: bool) -> Iterator[Remark]:
    looks: dict[str, dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in scan.items:
        if trigger in item.caption:
            for what, look in _looks_told(item.caption.replace(trigger, " "), style):
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


def _looks_told(caption: str, style: bool) -> Iterator[tuple[str, str]]:
    """At most one look of each part; of a part that is named twice, as of two persons, none."""
    medium = _MEDIUM.match(_STYLE_OF.sub(" ", caption[:_BEGINNING]))
    if medium:
        yield "kind of picture", _MEDIA[medium[1].lower()]
    if style:
        return
    parts: dict[str, set[str]] = defaultdict(set)
    low = caption.lower()
    parts_named = any(part in low for part in ("hair", "eye", "beard", "fur"))
    for part in _PART.finditer(caption) if parts_named else ():
        before = _BEFORE.search(caption[max(0, part.start() - _FAR) : part.start()])
        words = re.split("[ -]+", _OTHER_THING.split(before[0])[-1].lower()) if before else []
        # Of several the one that is next to it: dark brown is brown.
        colours = [word for word in words if word in _COLOURS]
        if colours:
            parts[part[1].lower()].add(_COLOURS[colours[-1]])
    for named_part, colour in _PART_IS.findall(caption) if parts_named else ():
        parts[named_part.lower()].add(_COLOURS[colour.lower()])
    for word in _WHOSE.findall(caption) if any(hint in low for hint in ("blond", "brunette", "redhead")) else ():
        parts["hair"].add(_COLOURS[word.lower()])
    yield from ((_PARTS.get(each, each), looks.pop()) for each, looks in parts.items() if len(looks) == 1)


def _line(what: str, look: str, items: Sequence[Item]) -> str:
    return f"{what}: {look} ({counted(len(items), 'caption')})"
