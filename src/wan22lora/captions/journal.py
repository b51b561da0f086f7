"""What was done to the captions of a folder: one file per change in a hidden folder inside it.

musubi-tuner lists no hidden names (dataset/media_utils.py:58-95 at v0.3.4), and neither does `check`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from wan22lora.errors import MachineError, RunFolderError
from wan22lora.files import read_json, write_text

FOLDER = ".wan22lora-captions"
_KEPT = 100
"""Changes of a folder that can be taken back."""

State = Literal["writing", "done", "undoing", "undone", "given up"]
"""`writing` and `undoing` are left behind by a process that was killed. Given up is what was taken back and then
followed by another change, so that it cannot be made again.
"""
_STATES = frozenset({"writing", "done", "undoing", "undone", "given up"})


@dataclass(frozen=True)
class Link:
    """A symbolic link where a caption file is looked for; a renaming moves it as it is."""

    target: str
    """As it stands in the link."""


Content = bytes | Link | None
"""What is in the place of a caption file; None where there is no file."""


@dataclass(frozen=True)
class Change:
    """One caption file before and after."""

    file: Path
    """Absolute."""
    old: Content
    new: Content


@dataclass(frozen=True)
class Entry:
    """A change of captions in one folder."""

    folder: Path
    number: int
    """Of its file. Counts up; a later change of the folder has a higher one."""
    action: str
    """What one command did in several folders shares it."""
    when: str
    """UTC, `2026-01-31 23:59:59.123456`, for ordering and for showing."""
    what: str
    """What was typed."""
    state: State
    changes: tuple[Change, ...]
    part: int = 0
    """Its place in its file. There are several where captions were edited by hand before it was turned round."""


def newest_first(folder: Path) -> Iterator[Entry]:
    """The changes of a folder; files that are no records are passed over. Raises MachineError."""
    for number in reversed(_numbers(folder)):
        yield from reversed(_read(folder, number))


def next_number(folder: Path) -> int:
    """The number that the next change of a folder gets."""
    return max(_numbers(folder), default=0) + 1


def record(entry: Entry) -> None:
    """Write a change down, whole or not at all, and drop the oldest ones. Raises OSError."""
    record_instead([entry], [entry])


def record_instead(those: Sequence[Entry], these: Sequence[Entry]) -> tuple[Entry, ...]:
    """Write these down in the place of those, which follow each other in one file, all or none.

    Returns them as they stand there now. Raises OSError.
    """
    folder, number, first = those[0].folder, those[0].number, those[0].part
    (folder / FOLDER).mkdir(exist_ok=True)
    others = _read(folder, number)
    every = [*others[:first], *these, *others[first + len(those) :]]
    write_text(_file(folder, number), json.dumps({"entries": [_values(each) for each in every]}, indent=1) + "\n")
    for oldest in _numbers(folder)[:-_KEPT]:
        _file(folder, oldest).unlink(missing_ok=True)
    return tuple(replace(each, number=number, part=first + at) for at, each in enumerate(these))


def strike(entry: Entry) -> None:
    """Take back that a new change was written down. Raises OSError."""
    _file(entry.folder, entry.number).unlink(missing_ok=True)


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
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as problem:
        message = f"{folder / FOLDER} cannot be read ({problem.strerror}): there stands what was done to the captions."
        raise MachineError(message, fix="Make it readable.") from problem
    stems = [name[:-5] for name in names if name.endswith(".json") and not name.startswith(".")]
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())


def _read(folder: Path, number: int) -> tuple[Entry, ...]:
    """Oldest first; empty for a file that is no record."""
    values = read_json(_file(folder, number))
    try:
        # Without a list of entries the file is one entry itself, as first versions wrote it.
        return tuple(_entry(folder, number, part, each) for part, each in enumerate(values.get("entries", [values])))
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()


def _entry(folder: Path, number: int, part: int, values: dict[str, Any]) -> Entry:
    state: State = values["state"]
    texts = (values["action"], values["when"], values["what"])
    if state not in _STATES or not all(isinstance(text, str) for text in texts):
        raise ValueError("no record")
    return Entry(folder, number, *texts, state, tuple(_change(folder, each) for each in values["changes"]), part)


def _change(folder: Path, values: dict[str, Any]) -> Change:
    name = os.fsdecode(_bytes(values["file"]))
    if not name or "/" in name or "\\" in name or name in (".", "..") or "\0" in name:
        raise ValueError("a change stays in its folder")
    return Change(folder / name, _content(values["old"]), _content(values["new"]))


def _values(entry: Entry) -> dict[str, object]:
    return {
        "action": entry.action,
        "when": entry.when,
        "what": entry.what,
        "state": entry.state,
        "changes": [
            {"file": _text(os.fsencode(change.file.name)), "old": _held(change.old), "new": _held(change.new)}
            for change in entry.changes
        ],
    }


def _held(content: Content) -> str | dict[str, str] | None:
    if isinstance(content, Link):
        return {"link": _text(os.fsencode(content.target))}
    return None if content is None else _text(content)


def _content(value: Any) -> Content:
    if isinstance(value, dict):
        return Link(os.fsdecode(_bytes(value["link"])))
    return None if value is None else _bytes(value)


def _text(value: bytes) -> str:
    """Bytes that are no UTF-8 become lone surrogates, which JSON's escapes bring back exactly."""
    return value.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
