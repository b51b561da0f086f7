"""What a contact sheet shows: every picture and clip, and every file that a remark is about, as values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wan22lora.check.checked import Checked
from wan22lora.check.forecast_lines import forecast_lines
from wan22lora.check.pictures import fit
from wan22lora.check.remark import ORDER, Remark
from wan22lora.dataset.buckets import Size, bucket_for
from wan22lora.dataset.checks import has_buckets
from wan22lora.dataset.frames import frames_to_read
from wan22lora.dataset.latents import latents_of
from wan22lora.dataset.listing import looks_like_media
from wan22lora.dataset.scan import Scan
from wan22lora.dataset.source import Item, Source

_LONGEST = 160
"""Characters of what is said beside one picture: a thousand that look alike would name each other a million times."""
Shown = Literal["picture", "clip"]


@dataclass(frozen=True)
class Told:
    """A remark, where it is about one entry."""

    remark: int
    """Its position in `Content.remarks`."""
    words: str
    """What it says of this file alone; may be empty."""


@dataclass(frozen=True)
class Entry:
    """One picture or clip."""

    path: Path
    dataset: int
    """Position of its dataset."""
    shown: Shown
    caption: str | None
    """None where there is none that can be read."""
    trains: bool
    """False for what musubi-tuner does not see or cannot use."""
    held_out: bool
    size: Size | None
    """As stored; None where it cannot be told."""
    bucket: tuple[int, ...] | None
    """Width and height in pixels, for clips also the frames of each window."""
    windows: int
    """Pieces of a clip that are trained; 0 for a clip that vanishes, 1 for pictures."""
    frame_limit: int | None
    """Clips: frames that are read of it; None for all."""
    told: tuple[Told, ...]


@dataclass(frozen=True)
class Content:
    """A whole sheet, thumbnails aside."""

    title: str
    places: tuple[Path, ...]
    """Of the datasets."""
    remarks: tuple[Remark, ...]
    """Worst first."""
    entries: tuple[Entry, ...]
    """Those with the worst remarks first, otherwise in musubi-tuner's order."""
    forecast: tuple[str, ...]


def content_of(checked: Checked, price: float | None = None) -> Content:
    """`price` is what an hour of a GPU costs."""
    scans, remarks = checked.scans, checked.remarks
    told: dict[Path, list[Told]] = {}
    for position, remark in enumerate(remarks):
        for each in remark.about:
            for path in dict.fromkeys(each.paths):
                told.setdefault(path, []).append(Told(position, _words(path, each.text)))
    learned = [{item.path for item in scan.items} for scan in checked.trained]
    entries = []
    for number, scan in enumerate(scans):
        entries += [_entry(scan, number, item, item.path not in learned[number], told) for item in scan.items]
    entries += _others(scans, {entry.path for entry in entries}, told)
    worst = {position: ORDER.index(remark.level) for position, remark in enumerate(remarks)}
    entries.sort(key=lambda entry: min((worst[each.remark] for each in entry.told), default=len(ORDER)))
    places = tuple(scan.source.place for scan in scans)
    return Content(checked.title, places, remarks, tuple(entries), tuple(forecast_lines(checked.forecast, price)))


def crop_of(size: Size, bucket: Size) -> tuple[float, float, float, float]:
    """Left, top, width and height of what is left of a picture, as shares of it (dataset/media_utils.py:101-137)."""
    scale, _ = fit(size, bucket)
    width, height = min(1.0, bucket[0] / (size[0] * scale)), min(1.0, bucket[1] / (size[1] * scale))
    return (1 - width) / 2, (1 - height) / 2, width, height


def _words(path: Path, text: str) -> str:
    """`a.png (64×64)` of a.png is `64×64`; of several files their names, as far as they fit."""
    if text == path.name:
        return ""
    if text.startswith(f"{path.name} (") and text.endswith(")"):
        return text[len(path.name) + 2 : -1]
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _entry(scan: Scan, number: int, item: Item, held_out: bool, told: dict[Path, list[Told]]) -> Entry:
    source = scan.source
    latents = latents_of(item, source)
    return Entry(
        item.path,
        number,
        "picture" if source.kind == "images" else "clip",
        item.caption,
        bool(latents),
        held_out,
        item.size,
        latents[0].bucket if latents else bucket_for(item.size, source),
        len(latents),
        frames_to_read(source) if source.kind == "videos" else None,
        tuple(told.get(item.path, ())),
    )


def _others(scans: Sequence[Scan], known: set[Path], told: dict[Path, list[Told]]) -> Iterator[Entry]:
    """Pictures and clips that are in no dataset's items, and that a remark is about."""
    for path, about in told.items():
        kind = looks_like_media(path.name)
        if path in known or kind is None or path.is_dir():
            continue
        number = next((n for n, scan in enumerate(scans) if scan.source.directory == path.parent), 0)
        source = scans[number].source
        size = _size(path, kind == "images")
        yield Entry(
            path,
            number,
            "picture" if kind == "images" else "clip",
            None,
            False,
            False,
            size,
            _bucket(size, source),
            0,
            frames_to_read(source) if source.kind == "videos" else None,
            tuple(about),
        )


def _size(path: Path, is_picture: bool) -> Size | None:
    from wan22lora.dataset.clips import read_clip
    from wan22lora.dataset.pictures import UnreadableError, read_picture

    try:
        return read_picture(path).size if is_picture else read_clip(path, 1).size
    except UnreadableError:
        return None


def _bucket(size: Size | None, source: Source) -> Size | None:
    return bucket_for(size, source) if size is not None and has_buckets(source) else None
