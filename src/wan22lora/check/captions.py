"""Rules about captions, beyond those that `train` applies (missing, empty, not UTF-8, without the trigger)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from wan22lora.check.remark import Remark, named, together
from wan22lora.check.words import is_common
from wan22lora.dataset.problems import counted
from wan22lora.dataset.scan import Scan
from wan22lora.dataset.source import Item, Source

MOST_TOKENS = 512
"""What the text encoder reads of a caption; musubi-tuner drops the rest without a word."""
_LETTERS_PER_TOKEN = 4.0
_DENSE_PER_TOKEN = 1.5
_DENSE_FROM = 0x2E80
"""Chinese, Japanese and Korean begin here; one of their characters is about a word."""


def caption_remarks(scan: Scan, trigger: str | None) -> Iterator[Remark]:
    """For one dataset."""
    source, items = scan.source, scan.items
    yield from _identical(source, items)
    yield from _too_long(source, items)
    if trigger is not None:
        yield from _not_first(source, items, trigger)


def trigger_remarks(where: str, trigger: str | None) -> Iterator[Remark]:
    """For the trigger itself."""
    if trigger is not None and is_common(trigger):
        yield Remark(
            "trigger-common",
            "warning",
            where,
            f"the trigger `{trigger}` is an everyday word or name",
            "the model already has a meaning for it, which the LoRA fights and changes in every prompt"
            " (told from a short built-in list of English words and names)",
            "Use a word that means nothing, such as `zxq` or a made-up name.",
        )


def tokens_about(caption: str) -> int:
    """An estimate: T5's own tokenizer is not asked. A token for four letters, or for one and a half of CJK."""
    dense = 0 if caption.isascii() else sum(ord(character) >= _DENSE_FROM for character in caption)
    return math.ceil((len(caption) - dense) / _LETTERS_PER_TOKEN + dense / _DENSE_PER_TOKEN)


def _identical(source: Source, items: Sequence[Item]) -> Iterator[Remark]:
    same: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.caption.strip():
            same[item.caption].append(item)
    groups = [group for group in same.values() if len(group) > 1]
    if groups:
        count = sum(map(len, groups))
        yield Remark(
            "caption-identical",
            "warning",
            str(source.place),
            f"{count} captions say the same as another one",
            "what a caption does not tell apart goes into the trigger, or into every picture",
            f"Say what is different in each {source.noun}.",
            tuple(together([item.path for item in group]) for group in groups),
        )


def _too_long(source: Source, items: Sequence[Item]) -> Iterator[Remark]:
    long = [(tokens, item.path) for item in items if (tokens := tokens_about(item.caption)) > MOST_TOKENS]
    if long:
        yield Remark(
            "caption-long",
            "warning",
            str(source.place),
            f"{counted(len(long), 'caption')} probably longer than the {MOST_TOKENS} tokens that are read",
            "the rest is cut off without a word (estimated at four letters a token)",
            "Shorten them; a few short sentences are enough.",
            tuple(named(path, f"about {tokens} tokens") for tokens, path in long),
        )


def _not_first(source: Source, items: Sequence[Item], trigger: str) -> Iterator[Remark]:
    late = tuple(
        named(item.path) for item in items if trigger in item.caption and not item.caption.lstrip().startswith(trigger)
    )
    if late:
        yield Remark(
            "trigger-not-first",
            "note",
            str(source.place),
            f"{counted(len(late), 'caption')} with the trigger `{trigger}` not at the beginning",
            "both articles put it first: the style as the first tag, or the trigger before the description",
            "Begin the captions with it.",
            late,
        )
