"""The cache files that a training learns from, each with what it was made from; and two such sets compared in words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from wan22lora.dataset.problems import listed
from wan22lora.plan.caches import REASONS, CacheState
from wan22lora.plan.class_captions import FOLDER_PREFIX
from wan22lora.plan.manifest import Key, kind_of, record_name

FOLDER = "learned"
"""Its name in the run folder: a file for each set that a training there was begun with, named by its digest."""
Records = Mapping[str, Key]
_SIZE = re.compile(r"(_\d{5,}-\d{3,})?_\d{4,}x\d{4,}_wan\.safetensors$")
_TEXT = "_wan_te.safetensors"


@dataclass(frozen=True)
class Learned:
    """What a training learns from."""

    records: Records
    """By the names of records (plan/manifest.py)."""

    @classmethod
    def of(cls, caches: Iterable[CacheState]) -> Learned:
        return cls({record_name(path): key for state in caches for path, key in state.expected.items()})

    @cached_property
    def digest(self) -> str:
        lines = (f"{name} {part} {value}" for name, parts in self.records.items() for part, value in parts.items())
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def learned_file(run_folder: Path, digest: str) -> Path:
    return run_folder / FOLDER / f"{digest}.json"


def changes_in_words(before: Records, now: Records) -> str:
    """`a (caption edited), b (replaced), c, d (added)`; empty where nothing that has a name differs."""
    said: dict[str, dict[str, None]] = {}
    old, new = _by_item(before), _by_item(now)
    for item in {**old, **new}:
        for word in _words(old.get(item, {}), new.get(item, {})):
            said.setdefault(word, {})[item] = None
    for word, items in said.items():
        if len(items) == len(new) > 1 and word not in ("added", "gone"):
            said[word] = {"all": None}
    several = len({item.split("/")[0] for item in {**old, **new}}) > 1
    return "; ".join(
        f"{listed([item if several else item.split('/', 1)[-1] for item in items])} ({word})"
        for word, items in said.items()
    )


def item_of(file: str) -> str:
    """The stem of the picture or clip that a cache file of this name belongs to."""
    return file.removesuffix(_TEXT) if kind_of(file) == "text" else _SIZE.sub("", file)


def _by_item(records: Records) -> dict[str, dict[str, Key]]:
    """The files of each picture or clip, named `0/stem`."""
    items: dict[str, dict[str, Key]] = {}
    for name, key in records.items():
        dataset, *folder, file = name.split("/")
        role = file
        if kind_of(file) == "text":
            role = "class caption" if folder and folder[0].startswith(FOLDER_PREFIX) else "caption"
        items.setdefault(f"{dataset}/{item_of(file)}", {})[role] = key
    return items


def _words(old: Mapping[str, Key], new: Mapping[str, Key]) -> Iterable[str]:
    if not old or not new:
        return ["added" if new else "gone"]
    words: dict[str, None] = {}
    for role in {**old, **new}:
        before, now = old.get(role), new.get(role)
        if role == "class caption" and (before is None or now is None):
            continue  # the class is told apart
        if before is None or now is None:
            words["other size or frames"] = None
            continue
        for part in {**before, **now}:
            if before.get(part) != now.get(part):
                edited = part == "caption" and role == "class caption"
                words["class caption changed" if edited else REASONS.get(part, f"{part} changed")] = None
    if "caption edited" in words:
        words.pop("class caption changed", None)
    return words
