"""What the script of `--dry-run` leaves for the next run: a note of what the caching that it started has encoded.

The script knows no more than the plan that printed it. So a note counts for a file only while everything that went
into it is as that plan saw it, pictures by their times too, and while nothing has been written since (decisions/0018).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wan22lora.dataset.latents import latents_of
from wan22lora.dataset.scan import Scan
from wan22lora.files import read_json
from wan22lora.plan.contents import Contents
from wan22lora.plan.manifest import CacheKind, Key, record_name


@dataclass(frozen=True)
class Note:
    """What one caching that was started by hand has encoded."""

    made: Mapping[str, str] = field(default_factory=dict)
    """By the names of their records; what they were made from, as `made_from` says it."""
    at: int = 0
    """When the caching had ended; nanoseconds."""


def note_file(cache: Path, kind: CacheKind) -> Path:
    return cache / f"by-hand-{kind}.json"


def read_note(cache: Path, kind: CacheKind) -> Note:
    """An empty one where there is none that can be read."""
    file = note_file(cache, kind)
    made = read_json(file)
    try:
        at = file.stat().st_mtime_ns
    except OSError:
        return Note()
    return Note({name: value for name, value in made.items() if isinstance(value, str)}, at)


def content_of_note(made: Iterable[Path], keys: Mapping[Path, Key], times: Mapping[Path, str]) -> str:
    """The text of the file, for the script to write once its caching has ended well."""
    return json.dumps({record_name(path): made_from(keys[path], times.get(path, "")) for path in made}, indent=1)


def vouched_for(note: Note, keys: Mapping[Path, Key], times: Mapping[Path, str]) -> frozenset[Path]:
    """The files that are, by the note, what is wanted of them now."""
    noted = ((path, note.made.get(record_name(path))) for path in keys) if note.made else ()
    return frozenset(
        path
        for path, made in noted
        if made is not None and made == made_from(keys[path], times.get(path, "")) and _written_by(path, note.at)
    )


def made_from(key: Key, times: str) -> str:
    """A digest of everything that went into a file."""
    return hashlib.sha256(json.dumps([sorted(key.items()), times]).encode()).hexdigest()[:16]


def times_of(scans: Iterable[Scan], contents: Contents) -> dict[Path, str]:
    """For every file of latents the times of its picture or clip: one that was changed and changed back has others."""
    return dict(_times_of(scans, contents))


def _times_of(scans: Iterable[Scan], contents: Contents) -> Iterator[tuple[Path, str]]:
    for scan in scans:
        for item in scan.items:
            times = contents.times(item.path)
            for latents in latents_of(item, scan.source):
                yield scan.source.cache / latents.file, times


def _written_by(path: Path, at: int) -> bool:
    try:
        return path.stat().st_mtime_ns <= at
    except OSError:
        return False
