"""What was done to the captions of a folder: one file per change in a hidden folder inside it.

musubi-tuner lists no hidden names (dataset/media_utils.py:58-95 at v0.3.4), and neither does `check`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wan22lora.errors import RunFolderError
from wan22lora.files import read_json, write_text

FOLDER = ".wan22lora-captions"
_KEPT = 100
"""Changes of a folder that can be taken back."""

State = Literal["writing", "done", "undoing", "undone"]
"""`writing` and `undoing` are left behind by a process that was killed."""


@dataclass(frozen=True)
class Change:
    """One caption file before and after, as bytes; None where there is no file."""

    file: Path
    """Absolute."""
    old: bytes | None
    new: bytes | None


@dataclass(frozen=True)
class Entry:
    """A change of captions in one folder."""

    folder: Path
    number: int
    """Counts up; a later change of the folder has a higher one."""
    action: str
    """What one command did in several folders shares it."""
    when: str
    """UTC, `2026-01-31 23:59:59.123456`, for ordering and for showing."""
    what: str
    """What was typed."""
    state: State
    changes: tuple[Change, ...]


def newest_first(folder: Path) -> Iterator[Entry]:
    """The changes of a folder; files that are no records are passed over."""
    for number in reversed(_numbers(folder)):
        entry = _read(folder, number)
        if entry is not None:
            yield entry


def next_number(folder: Path) -> int:
    """The number that the next change of a folder gets."""
    return max(_numbers(folder), default=0) + 1


def record(entry: Entry) -> None:
    """Write a change down, whole or not at all, and drop the oldest ones. Raises OSError."""
    place = entry.folder / FOLDER
    place.mkdir(exist_ok=True)
    values = {
        "action": entry.action,
        "when": entry.when,
        "what": entry.what,
        "state": entry.state,
        # Bytes that are no UTF-8 become lone surrogates, which JSON's escapes bring back exactly.
        "changes": [
            {"file": _text(os.fsencode(change.file.name)), "old": _text(change.old), "new": _text(change.new)}
            for change in entry.changes
        ],
    }
    write_text(_file(entry.folder, entry.number), json.dumps(values, indent=1) + "\n")
    for number in _numbers(entry.folder)[:-_KEPT]:
        _file(entry.folder, number).unlink(missing_ok=True)


@contextmanager
def claimed(folders: Sequence[Path]) -> Iterator[None]:
    """Keep other commands away from the captions of these folders. Raises RunFolderError where one is at work."""
    from filelock import FileLock, Timeout

    locks = []
    try:
        for folder in sorted(set(folders)):
            (folder / FOLDER).mkdir(exist_ok=True)
            lock = FileLock(folder / FOLDER / "lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                message = f"Another `wan22lora captions` is at work in {folder}."
                raise RunFolderError(message, fix="Wait for it to end, then type the command again.") from None
            except NotImplementedError:
                continue  # a file system without locks
            locks.append(lock)
        yield
    finally:
        for lock in locks:
            lock.release()


def _file(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{number:06d}.json"


def _numbers(folder: Path) -> list[int]:
    try:
        names = os.listdir(folder / FOLDER)  # noqa: PTH208
    except OSError:
        return []
    stems = [name[:-5] for name in names if name.endswith(".json") and not name.startswith(".")]
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())


def _read(folder: Path, number: int) -> Entry | None:
    values = read_json(_file(folder, number))
    try:
        state: State = values["state"]
        changes = tuple(_change(folder, each) for each in values["changes"])
        texts = (values["action"], values["when"], values["what"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if state not in ("writing", "done", "undoing", "undone") or not all(isinstance(text, str) for text in texts):
        return None
    return Entry(folder, number, *texts, state, changes)


def _change(folder: Path, values: dict[str, Any]) -> Change:
    name = os.fsdecode(_bytes(values["file"]) or b"")
    if not name or "/" in name or "\\" in name or name in (".", "..") or "\0" in name:
        raise ValueError("a change stays in its folder")
    return Change(folder / name, _bytes(values["old"]), _bytes(values["new"]))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")
