"""A run's cache files, for people and for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from wan22lora.dataset.problems import counted, listed
from wan22lora.plan.inventory import CacheFile, Standing
from wan22lora.readable import readable

_STANDINGS: tuple[Standing, ...] = ("current", "to encode", "to take over", "unwanted", "foreign")
_WORDS: dict[Standing, str] = {"unwanted": "no longer wanted", "foreign": "not of this run"}
_NAMES = {"vae": "VAE", "t5": "text encoder", "task": "task", "musubi": "musubi-tuner", "options": "options"}
_PARTS = {"bucket": "size", "fps": "frame rate", **_NAMES}
_SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def as_json(folder: Path, files: Iterable[CacheFile]) -> str:
    """`{"folder", "files": [{"file", "kind", "item", "standing", "bytes", "shared", "made_from", "reason", …}]}`"""
    return json.dumps({"folder": str(folder), "files": [_facts(folder, file) for file in files]}, indent=2)


def _facts(folder: Path, file: CacheFile) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "file": str(file.path.relative_to(folder)),
        "kind": file.kind,
        "item": file.item,
        "standing": file.standing,
        "bytes": file.size,
        "shared": file.shared,
        "made_from": dict(file.key),
    }
    if file.stale is not None:
        changes = {part: {"before": before, "now": now} for part, (before, now) in file.stale.changes.items()}
        facts |= {"reason": file.stale.reason, "changes": changes}
    if file.source is not None:
        facts["from"] = str(file.source)
    return facts


def as_list(folder: Path, files: Sequence[CacheFile]) -> Iterator[str]:
    """A line for every picture and clip, then what was made from what, and the sum."""
    yield str(folder)
    items: dict[tuple[Path, str], list[CacheFile]] = {}
    for file in files:
        if file.standing not in ("unwanted", "foreign"):
            items.setdefault((file.path.parent.parent if file.of_class else file.path.parent, file.item), []).append(
                file
            )
    width = min(40, max((len(_text(item)) for _, item in items), default=0))
    dataset = None
    for (place, item), own in items.items():
        if place != dataset:
            yield f"  {place.name}/"
            dataset = place
        yield f"    {_text(item).ljust(width)}  {', '.join(_said(own))}"
    yield from _rest(folder, files)
    yield ""
    for kind, noun in (("latents", "latents"), ("text", "captions")):
        made = dict.fromkeys(_made_with(file) for file in files if file.kind == kind and file.standing == "current")
        yield from (f"{noun} made with {each}" for each in made)
    yield _sum(files)


def _rest(folder: Path, files: Sequence[CacheFile]) -> Iterator[str]:
    for standing in ("unwanted", "foreign"):
        others = [file for file in files if file.standing == standing]
        if others:
            yield f"  {_WORDS[standing]}:"
            yield from (f"    {_text(str(file.path.relative_to(folder)))}  {_bytes(file.size)}" for file in others)


def _said(files: Sequence[CacheFile]) -> Iterator[str]:
    for noun, own in (
        ("latents", [file for file in files if file.kind == "latents"]),
        ("caption", [file for file in files if file.kind == "text" and not file.of_class]),
        ("class caption", [file for file in files if file.of_class]),
    ):
        if not own:
            continue
        sizes = " ".join(dict.fromkeys(file.key["bucket"] for file in own if "bucket" in file.key))
        windows = f"{len(own)} windows " if len(own) > 1 and noun == "latents" else ""
        stale = dict.fromkeys(file.stale.reason for file in own if file.stale is not None)
        size = f"({', '.join(stale)})" if stale else _bytes(sum(file.size or 0 for file in own))
        yield " ".join(part for part in (noun, f"{windows}{sizes}", size) if part)


def _made_with(file: CacheFile) -> str:
    return ", ".join(f"{name} {file.key[part]}" for part, name in _NAMES.items() if part in file.key)


def _sum(files: Sequence[CacheFile]) -> str:
    counts = Counter(file.standing for file in files)
    there = [file for file in files if file.size is not None]
    said = ", ".join(f"{counts[each]} {_WORDS.get(each, each)}" for each in _STANDINGS if counts[each])
    shared = sum(file.size or 0 for file in there if file.shared)
    also = f" ({_bytes(shared)} of it shared with other runs)" if shared else ""
    return f"{counted(len(there), 'file')}, {_bytes(sum(file.size or 0 for file in there))}{also}: {said or 'none'}"


def as_reasons(files: Sequence[CacheFile]) -> Iterator[str]:
    """For everything that is not current, what changed; files to which the same happened together."""
    groups: dict[tuple[str, ...], list[CacheFile]] = {}
    for file in files:
        if file.standing != "current":
            groups.setdefault(_what_happened(file), []).append(file)
    for (head, *changes), group in groups.items():
        names = list(dict.fromkeys(_text(file.item) for file in group))
        yield f"{counted(len(group), 'file')} {head}: {listed(names)}"
        yield from (f"    {change}" for change in changes)
    yield _sum(files)


def _what_happened(file: CacheFile) -> tuple[str, ...]:
    noun = "latents" if file.kind == "latents" else "class caption" if file.of_class else "caption"
    if file.stale is None:
        return (f"{_WORDS[file.standing]} ({noun})",)
    changes = [
        f"{_PARTS.get(part, part)} was {'not known' if before is None else before},"
        f" is {'not known' if now is None else now}"
        for part, (before, now) in file.stale.changes.items()
        if part not in ("content", "caption")
    ]
    if "caption" in file.stale.changes:
        before, now = file.stale.changes["caption"]
        changes += [f"was: {_text(before or '')}", f"is:  {_text(now or '')}"]
    if file.source is not None:
        changes.append(f"taken over from {file.source.parent}")
    return (f"{file.standing}, {file.stale.reason} ({noun})", *changes)


def to_remove(folder: Path, files: Sequence[CacheFile]) -> Iterator[str]:
    """What cleaning would remove, and what it frees."""
    for file in files:
        why = file.stale.reason if file.stale is not None else _WORDS.get(file.standing, file.standing)
        yield f"  {_text(str(file.path.relative_to(folder)))}  {_bytes(file.size)}  {why}"
    freed = sum(file.size or 0 for file in files if not file.shared)
    yield f"{counted(len(files), 'file')}; removing them frees {_bytes(freed)}"


def _bytes(size: int | None) -> str:
    if size is None:
        return "not there"
    unit, one = next(((unit, one) for unit, one in _SIZES if size >= one), ("bytes", 1.0))
    return f"{size / one:.3g} {unit}" if one > 1 else counted(size, "byte")


def _text(name: str) -> str:
    """On one line, without what no screen takes."""
    return readable(name).replace("\n", "\\n")
