"""Changes of many captions at once: written down first, then made, so that they can be taken back (history.py).

What is written down holds every caption before and after. So a process that is killed between two files leaves
nothing lost: the next command completes what was begun (`settle`).
"""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from itertools import takewhile
from pathlib import Path

from wan22lora.captions.caption_file import as_now, content_of, held_at, now_in_place_of, put, to_disk
from wan22lora.captions.journal import (
    FOLDER,
    Change,
    Content,
    Entry,
    State,
    claimed,
    newest_first,
    next_number,
    record,
    strike,
)
from wan22lora.dataset.problems import counted, listed
from wan22lora.errors import DatasetError, Finding, MachineError

Tell = Callable[[], None]
UNFINISHED: tuple[State, ...] = ("writing", "undoing")


def changes_to(wanted: Mapping[Path, bytes | None]) -> tuple[Change, ...]:
    """From caption files and what shall be in them (None: no file) to what has to change, in the order of the names."""
    found = [Change(file.absolute(), _before(file), wanted[file]) for file in sorted(wanted)]
    return tuple(change for change in found if change.old != change.new)


def _before(file: Path) -> Content:
    """A link that leads nowhere is replaced, not followed: what it names may be a place that is only unmounted."""
    content = content_of(file)
    return held_at(file) if content is None else content


def renamed(folder: Path, names: Iterable[tuple[str, str]]) -> tuple[Change, ...]:
    """The changes that give caption files other names, all at once: names may be swapped or shifted.

    Each pair is a name and the new one. A file in the place of a new name that gets no other name itself is
    overwritten: its text is the `old` of that change. Links are moved, and nothing is written into what they lead to.
    """
    wanted: dict[Path, Content] = {}
    pairs = list(names)
    for old, _ in pairs:
        wanted[folder / old] = None
    for old, new in pairs:
        wanted[folder / new] = held_at(folder / old)
    found = [Change(file.absolute(), held_at(file), wanted[file]) for file in sorted(wanted)]
    return tuple(change for change in found if change.old != change.new)


def interrupted_in(folders: Iterable[Path]) -> list[Entry]:
    """What `settle` would complete."""
    return [entry for folder in sorted(set(folders)) for entry in _unfinished(folder, UNFINISHED)]


def _unfinished(folder: Path, states: Sequence[State]) -> list[Entry]:
    latest = takewhile(lambda entry: entry.state != "done", newest_first(folder))
    return [entry for entry in latest if entry.state in states]


def settle(folders: Iterable[Path], states: Sequence[State] = UNFINISHED) -> list[str]:
    """Complete what a killed command left half done, before anything new is decided. Says what was completed."""
    said = []
    for folder in sorted(set(folders)):
        unfinished = _unfinished(folder, states)
        if not unfinished:
            continue
        with disk_refusals_told(folder), claimed([folder]):
            for entry in unfinished:
                left = complete(entry)
                way = "was completed" if entry.state == "writing" else "is taken back now"
                text = f"`{entry.what}` had been interrupted and {way}: {counted(len(entry.changes), 'caption')}"
                aside = f"; edited since and left as they are: {_names(left)}" if left else ""
                said.append(f"{text} in {folder}{aside}.")
    return said


def carry_out(changes: Sequence[Change], what: str, tell: Tell = lambda: None) -> list[Path]:
    """Make the changes; `what` is the command that was typed, for the record, and `tell` is called after each.

    Returns those that somebody edited in that very moment and that were left as they are. Raises DatasetError, with
    nothing changed, where a caption is no longer what `old` says, and MachineError where the disk refuses.
    """
    by_folder: dict[Path, list[Change]] = defaultdict(list)
    for change in changes:
        if change.old != change.new:
            folder = Path(os.path.realpath(change.file.parent))
            by_folder[folder].append(replace(change, file=folder / change.file.name))
    if not by_folder:
        return []
    action, when = secrets.token_hex(8), right_now()
    with disk_refusals_told(next(iter(by_folder))), claimed(list(by_folder)):
        for group in by_folder.values():
            _refuse_where_edited(group)
        _refuse_where_shared([change for group in by_folder.values() for change in group])
        entries = [
            Entry(folder, next_number(folder), action, when, what, "writing", tuple(group))
            for folder, group in by_folder.items()
        ]
        _record_all(entries)
        return [file for entry in entries for file in complete(entry, tell)]


def right_now() -> str:
    """As records have it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")


def complete(entry: Entry, tell: Tell = lambda: None) -> list[Path]:
    """Bring every caption to where the entry is going; returns those that somebody edited meanwhile, which stay.

    `tell` is called after each. Raises MachineError where the disk refuses.
    """
    forward = entry.state == "writing"
    left, done = [], 0
    try:
        for change in entry.changes:
            source, target = (change.old, change.new) if forward else (change.new, change.old)
            now = now_in_place_of(change)
            # Without power, a file that was renamed into place may come back empty.
            if now not in (source, target, b""):
                left.append(change.file)
            elif now != target:
                put(change, target)
            done += 1
            tell()
        to_disk(change.file for change in entry.changes)
        if forward:
            _give_up_below(entry)
        record(replace(entry, state="done" if forward else "undone"))
    except OSError as problem:
        way_back = ", and `captions undo` takes all of it back" if forward else ""
        where = problem.filename2 or problem.filename or entry.folder  # of a renaming the second is the caption
        raise MachineError(
            f"{where} cannot be written ({problem.strerror or problem}); {done} of"
            f" {counted(len(entry.changes), 'caption')} are done.",
            fix=f"Put that right; the next `wan22lora captions` command in the folder completes the rest{way_back}.",
        ) from problem
    return left


def _give_up_below(entry: Entry) -> None:
    """What was taken back before this change cannot be made again after it."""
    below = (each for each in newest_first(entry.folder) if (each.number, each.part) < (entry.number, entry.part))
    for each in takewhile(lambda older: older.state != "done", below):
        if each.state == "undone":
            record(replace(each, state="given up"))


def _record_all(entries: Sequence[Entry]) -> None:
    """All or, where the disk refuses, none."""
    try:
        for entry in entries:
            record(entry)
    except OSError:
        for entry in entries:
            with suppress(OSError):
                strike(entry)
        raise


def _refuse_where_edited(changes: Sequence[Change]) -> None:
    edited = [change.file for change in changes if as_now(change) != change.old]
    if edited:
        message = f"{counted(len(edited), 'caption')} changed in the meantime: {_names(edited)}"
        finding = Finding(str(changes[0].file.parent), message, "Type the command again.")
        raise DatasetError("Nothing was changed.", findings=[finding])


def _refuse_where_shared(changes: Sequence[Change]) -> None:
    """Links to one file cannot say different things."""
    by_file: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        if isinstance(change.old, bytes) and isinstance(change.new, bytes):
            by_file[os.path.realpath(change.file)].append(change)
    findings = [
        Finding(
            real,
            f"{_names([change.file for change in group])} are links to this one file, and would say different things",
            "Replace the links by files of their own, or caption these by hand.",
        )
        for real, group in by_file.items()
        if len({change.new for change in group}) > 1
    ]
    if findings:
        raise DatasetError("Nothing was changed.", findings=findings)


def _names(files: Iterable[Path]) -> str:
    return listed([file.name for file in files])


@contextmanager
def disk_refusals_told(folder: Path) -> Iterator[None]:
    """Turns what the disk refuses before the first caption is written into a MachineError."""
    try:
        yield
    except OSError as problem:
        message = (
            f"{problem.filename or folder / FOLDER} cannot be written ({problem.strerror or problem}),"
            " so the change could not be taken back. No caption was changed."
        )
        raise MachineError(message, fix="Make the folder writable, or make room on its disk.") from problem
