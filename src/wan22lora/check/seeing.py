"""Which pictures are decoded, and on how many threads.

Decoding is what takes long: about 28 ms for a PNG of 960² on one core, where its checksums take 1 and a JPEG, at a
fraction of its size, 1.5. So without being asked for more, no more is decoded than takes some seconds; of the other
pictures only headers and checksums are looked at, which finds whatever happens to a file by accident.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from wan22lora.check.picture_facts import PictureFacts, as_kept, from_kept, read_facts
from wan22lora.dataset.memory import Memory
from wan22lora.dataset.source import Item

_MOST_THREADS = 8
CORE_SECONDS = 8.0
"""What looking may take of each core, by the estimates below (docs/benchmarks.md): seconds of one for a megapixel."""
_DECODING = {".jpg": 0.0016, ".jpeg": 0.0016, ".bmp": 0.002, ".avif": 0.01, ".webp": 0.015}
_DECODING_OTHERWISE = 0.03
"""PNG's."""
_CHECKSUMS = {".png": 0.0012}
_WHAT = "pixels"


def see_pictures(items: Sequence[Item], memory: Memory, *, thorough: bool) -> list[PictureFacts]:
    """Of each picture what `memory` knows, or what it shows now. Never raises for a file."""
    known = [_recalled(item, memory, thorough=thorough) for item in items]
    new = [index for index, facts in enumerate(known) if facts is None]
    seen = _see([items[index] for index in new], memory, thorough=thorough)
    for index, facts in zip(new, seen, strict=True):
        known[index] = facts
    return [facts for facts in known if facts is not None]


def seconds_to_decode(items: Sequence[Item]) -> float:
    """About how long it takes here."""
    return sum(map(_core_seconds, items)) / _threads()


def _see(items: Sequence[Item], memory: Memory, *, thorough: bool) -> list[PictureFacts]:
    decode = [thorough or allowed for allowed in _allowed(items)]
    threads = ThreadPoolExecutor(_threads())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of very large pictures; musubi-tuner reads them
            return list(threads.map(lambda item, decode: _seen(item, memory, decode=decode), items, decode))
    finally:
        threads.shutdown(cancel_futures=True)  # Ctrl-C does not wait for ten thousand pictures


def _seen(item: Item, memory: Memory, *, decode: bool) -> PictureFacts:
    def only_if_enough(kept: object) -> PictureFacts:
        facts = from_kept(item, kept)
        if decode and not facts.decoded:
            raise ValueError("only its checksums were looked at")
        return facts

    return memory.remembered(item.path, _WHAT, lambda: read_facts(item, decode=decode), only_if_enough, as_kept)


def _recalled(item: Item, memory: Memory, *, thorough: bool) -> PictureFacts | None:
    kept = memory.recall(item.path, _WHAT)
    try:
        facts = from_kept(item, kept) if kept is not None else None
    except (ValueError, TypeError, IndexError):
        return None
    return None if facts is not None and thorough and not facts.decoded else facts


def _allowed(items: Sequence[Item]) -> list[bool]:
    """Which may be decoded, of the formats that take least first, until the seconds are spent."""
    left = CORE_SECONDS * _threads() - sum(_megapixels(item) * _CHECKSUMS.get(_ending(item), 0) for item in items)
    allowed = [False] * len(items)
    for index in sorted(range(len(items)), key=lambda index: _decoding(items[index])):
        cost = _core_seconds(items[index])
        allowed[index] = cost <= left
        left -= cost if allowed[index] else 0
    return allowed


def _core_seconds(item: Item) -> float:
    return _megapixels(item) * _decoding(item)


def _decoding(item: Item) -> float:
    return _DECODING.get(_ending(item), _DECODING_OTHERWISE)


def _megapixels(item: Item) -> float:
    return item.size[0] * item.size[1] / 1e6


def _ending(item: Item) -> str:
    return item.path.suffix.lower()


def _threads() -> int:
    return min(_MOST_THREADS, os.cpu_count() or 1)
