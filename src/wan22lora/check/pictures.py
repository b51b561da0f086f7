"""Rules about pictures.

musubi-tuner opens a picture with `Image.open(…).convert("RGB")` (dataset/datasources.py:225), enlarges or shrinks it
until it covers its bucket, and cuts off what hangs over, half on each side (dataset/media_utils.py:101-137).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from wan22lora.check.duplicates import groups_of_alike
from wan22lora.check.facts import Looked
from wan22lora.check.picture_facts import PictureFacts
from wan22lora.check.remark import Remark, named, together
from wan22lora.check.seeing import seconds_to_decode
from wan22lora.dataset.buckets import Size, bucket_for
from wan22lora.dataset.problems import counted
from wan22lora.dataset.source import Item, Source
from wan22lora.errors import Named
from wan22lora.kinds import FindingKind

ENLARGED = 1.25
"""From here on each side is made longer by a quarter and more."""
CUT = 0.15
"""Share of a picture that may be lost to its bucket without a word."""


def picture_remarks(looked: Looked) -> Iterator[Remark]:
    source = looked.scan.source
    yield from _what_they_are(source, looked.pictures)
    yield from fit_remarks(source, looked.scan.items)
    yield from _not_decoded(source, looked.pictures)


def _what_they_are(source: Source, pictures: Sequence[PictureFacts]) -> Iterator[Remark]:
    where = str(source.place)
    broken = [named(each.item.path, each.broken) for each in pictures if each.broken]
    if broken:
        message = f"{counted(len(broken), 'picture')} cannot be decoded"
        yield Remark(
            "broken", "error", where, message, "musubi-tuner stops while caching", "Replace them.", tuple(broken)
        )
    rules: list[tuple[FindingKind, Callable[[PictureFacts], bool], str, str, str]] = [
        (
            "animated",
            lambda each: each.animated,
            "animated",
            "only the first frame is trained",
            "Save the frame that you want, or make clips of them.",
        ),
        (
            "cmyk",
            lambda each: each.cmyk,
            "CMYK",
            "their colours are converted without a profile and come out wrong",
            "Save them as sRGB.",
        ),
        (
            "transparent",
            lambda each: each.transparent,
            "partly transparent",
            "transparency is dropped, and whatever colour lies under it is trained, often black or ragged",
            "Put them on a background.",
        ),
    ]
    for kind, is_it, what, why, fix in rules:
        names = tuple(named(each.item.path) for each in pictures if is_it(each))
        if names:
            yield Remark(kind, "warning", where, f"{_are(len(names), 'picture')} {what}", why, fix, names)


def _not_decoded(source: Source, pictures: Sequence[PictureFacts]) -> Iterator[Remark]:
    left = [each.item for each in pictures if not each.decoded]
    if left:
        minutes = math.ceil(seconds_to_decode(left) / 60)
        yield Remark(
            "not-decoded",
            "note",
            str(source.place),
            f"{_are(len(left), 'picture')} not decoded, which takes about {counted(minutes, 'minute')}",
            "of these only headers and the checksums of PNGs were looked at: copies and damaged files were found,"
            " other likenesses and transparency were not looked for",
            "`wan22lora check --thorough` decodes all, once: what it sees is kept until a file changes.",
            tuple(named(item.path) for item in left),
        )


def fit_remarks(source: Source, items: Iterable[Item]) -> Iterator[Remark]:
    """How pictures or clips fit their buckets."""
    large: list[tuple[float, Named]] = []
    cut: list[tuple[float, Named]] = []
    for item in items:
        scale, lost = fit(item.size, bucket_for(item.size, source))
        if scale >= ENLARGED:
            large.append((scale, named(item.path, f"{_shape(item.size)}, {scale:.1f}×")))
        if lost >= CUT:
            cut.append((lost, named(item.path, f"{_shape(item.size)}, {lost:.0%}")))
    if large:
        worst = max(scale for scale, _ in large)
        yield Remark(
            "enlarged",
            "warning",
            str(source.place),
            f"{_are(len(large), source.noun)} too small for {_shape(source.resolution)}, by up to {worst:.1f}×",
            "they are enlarged, and the LoRA learns their blur",
            "Use larger originals, or a smaller `data.resolution`.",
            _worst_first(large),
        )
    if cut:
        ending = f"{_lose(len(cut), source.noun)} a part to the bucket, up to {max(lost for lost, _ in cut):.0%}"
        why = "what hangs over the nearest bucket is cut off, half on each side"
        if source.bucket or source.kind == "videos":
            why += "; buckets reach from 1:4 to 4:1"
            fix = f"Cut the {source.noun}s yourself, to a shape nearer to a square."
        else:
            fix = "Turn buckets on, or cut them to one shape yourself."
        yield Remark("cropped", "warning", str(source.place), ending, why, fix, _worst_first(cut))


def fit(size: Size, bucket: Size) -> tuple[float, float]:
    """By how much each side grows (under 1: shrinks), and the share of the area that is then cut off."""
    if min(*size, *bucket) <= 0:
        return 1.0, 0.0
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    covered = (int(size[0] * scale + 0.5), int(size[1] * scale + 0.5))
    return scale, max(0.0, 1 - bucket[0] * bucket[1] / (covered[0] * covered[1]))


def duplicate_remarks(looked: Sequence[Looked]) -> Iterator[Remark]:
    """Pictures that look alike, over all datasets of a run. One that is in several of them is one picture."""
    by_path: dict[Path, tuple[Source, PictureFacts]] = {}
    for each in looked:
        for facts in each.pictures:
            by_path.setdefault(facts.item.path, (each.scan.source, facts))
    pictures = list(by_path.values())
    groups = groups_of_alike([facts.look for _, facts in pictures], [facts.copy for _, facts in pictures])
    if groups:
        where = str(pictures[groups[0][0]][0].place)
        same = tuple(together([pictures[index][1].item.path for index in group]) for group in groups)
        count = sum(len(group) for group in groups)
        yield Remark(
            "alike",
            "warning",
            where,
            f"{count} pictures look like another one",
            "what is shown twice is learned twice as hard, and shows up where nobody asked for it",
            "Keep the best of each group; for more weight on a whole dataset there is `repeats`.",
            same,
        )


def _worst_first(found: list[tuple[float, Named]]) -> tuple[Named, ...]:
    return tuple(name for _, name in sorted(found, key=lambda each: -each[0]))


def _shape(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def _are(count: int, noun: str) -> str:
    return f"{counted(count, noun)} {'is' if count == 1 else 'are'}"


def _lose(count: int, noun: str) -> str:
    return f"{counted(count, noun)} {'loses' if count == 1 else 'lose'}"
