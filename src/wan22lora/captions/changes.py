"""The only place that writes captions: a set of changes is written down first, then made, and can be taken back.

What is written down holds every caption before and after. So a process that is killed between two files leaves
nothing lost: the next command completes what was begun (`settle`).
"""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import takewhile
from pathlib import Path

from wan22lora.captions.journal import FOLDER, Change, Entry, State, claimed, newest_first, next_number, record
from wan22lora.dataset.problems import counted, listed
from wan22lora.errors import DatasetError, Finding, MachineError
from wan22lora.files import read_file

_TEMPORARY = "writing.tmp"
_LARGEST = 1 << 24
"""Bytes of a caption's file; more is none."""


def content_of(file: Path) -> bytes | None:
    """What is in a caption file now; None where there is none. Raises DatasetError where it cannot be read."""
    try:
        return read_file(file, _LARGEST)
    except FileNotFoundError:
        return None
    except OSError as problem:
        finding = Finding(str(file), f"the caption cannot be read ({problem.strerror})", "Make it readable.")
        raise DatasetError("Not every caption could be read; nothing was changed.", findings=[finding]) from problem


def changes_to(wanted: Mapping[Path, bytes | None]) -> tuple[Change, ...]:
    """From caption files and what shall be in them (None: no file) to what has to change, in the order of the names."""
    found = [Change(file.absolute(), content_of(file), wanted[file]) for file in sorted(wanted)]
    return tuple(change for change in found if change.old != change.new)


def renamed(folder: Path, names: Iterable[tuple[str, str]]) -> tuple[Change, ...]:
    """The changes that give caption files other names, all at once: names may be swapped or shifted.

    Each pair is a name and the new one. A file in the place of a new name that gets no other name itself is
    overwritten: its text is the `old` of that change.
    """
    wanted: dict[Path, bytes | None] = {}
    pairs = list(names)
    for old, _ in pairs:
        wanted[folder / old] = None
    for old, new in pairs:
        wanted[folder / new] = content_of(folder / old)
    return changes_to(wanted)


def settle(folders: Iterable[Path]) -> list[str]:
    """Complete what a killed command left half done, before anything new is decided. Says what was completed."""
    said = []
    for folder in sorted(set(folders)):
        unfinished = [entry for entry in newest_first(folder) if entry.state in ("writing", "undoing")]
        if not unfinished:
            continue
        with _disk(folder), claimed([folder]):
            for entry in reversed(unfinished):
                left = _complete(entry)
                way = "was completed" if entry.state == "writing" else "is taken back now"
                text = f"`{entry.what}` had been interrupted and {way}: {counted(len(entry.changes), 'caption')}"
                aside = f"; edited since and left as they are: {listed(left)}" if left else ""
                said.append(f"{text} in {folder}{aside}.")
    return said


def carry_out(changes: Sequence[Change], what: str) -> None:
    """Make the changes; `what` is the command that was typed, for the record.

    Raises DatasetError, with nothing changed, where a caption is no longer what `old` says, and MachineError where
    the disk refuses.
    """
    by_folder: dict[Path, list[Change]] = defaultdict(list)
    for change in changes:
        if change.old != change.new:
            by_folder[change.file.parent].append(change)
    if not by_folder:
        return
    action, when = secrets.token_hex(8), datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
    with _disk(next(iter(by_folder))), claimed(list(by_folder)):
        for group in by_folder.values():
            _refuse_where_edited(group)
        entries = [
            Entry(folder, next_number(folder), action, when, what, "writing", tuple(group))
            for folder, group in by_folder.items()
        ]
        for entry in entries:
            record(entry)
        for entry in entries:
            _complete(entry)


@dataclass(frozen=True)
class Step:
    """The last thing that can be taken back, or made again, in all folders that one command changed."""

    entries: tuple[Entry, ...]

    @property
    def what(self) -> str:
        return self.entries[0].what

    @property
    def when(self) -> str:
        return self.entries[0].when

    @property
    def count(self) -> int:
        return sum(len(entry.changes) for entry in self.entries)

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(change for entry in self.entries for change in entry.changes)


def step_back(folders: Iterable[Path]) -> Step | None:
    """What can be taken back: the last change of these folders."""
    tops = [next((entry for entry in newest_first(folder) if entry.state == "done"), None) for folder in set(folders)]
    done = sorted((entry for entry in tops if entry is not None), key=_age, reverse=True)
    return Step(tuple(entry for entry in done if entry.action == done[0].action)) if done else None


def step_forward(folders: Iterable[Path]) -> Step | None:
    """What can be made again: the change that was taken back last, where no other followed."""
    undone = [
        entry
        for folder in set(folders)
        for entry in list(takewhile(lambda entry: entry.state == "undone", newest_first(folder)))[-1:]
    ]
    undone.sort(key=_age)
    return Step(tuple(entry for entry in undone if entry.action == undone[0].action)) if undone else None


def _age(entry: Entry) -> tuple[str, int]:
    return entry.when, entry.number


def edited_since(step: Step, *, forward: bool = False) -> tuple[Path, ...]:
    """The captions that are not as the step left them; `forward` as the undoing of the step left them."""
    return tuple(
        change.file for change in step.changes if content_of(change.file) != (change.old if forward else change.new)
    )


def take_back(step: Step) -> None:
    """Undo a step. What was edited since goes too, and comes back when the step is made again."""
    _turn(step, "undoing")


def make_again(step: Step) -> None:
    """Redo a step that was taken back. What was edited since goes too, and comes back when it is taken back again."""
    _turn(step, "writing")


def _turn(step: Step, state: State) -> None:
    folders = [entry.folder for entry in step.entries]
    with _disk(folders[0]), claimed(folders):
        turned = [
            replace(entry, state=state, changes=tuple(_as_it_is(change, state) for change in entry.changes))
            for entry in step.entries
        ]
        for entry in turned:
            record(entry)
        for entry in turned:
            _complete(entry)


def _as_it_is(change: Change, state: State) -> Change:
    now = content_of(change.file)
    return replace(change, new=now) if state == "undoing" else replace(change, old=now)


def _refuse_where_edited(changes: Sequence[Change]) -> None:
    edited = [change.file.name for change in changes if content_of(change.file) != change.old]
    if edited:
        message = f"{counted(len(edited), 'caption')} changed in the meantime: {listed(edited)}"
        finding = Finding(str(changes[0].file.parent), message, "Type the command again.")
        raise DatasetError("Nothing was changed.", findings=[finding])


def _complete(entry: Entry) -> list[str]:
    """Bring every caption to where the entry is going; names those that somebody edited meanwhile, which stay."""
    forward = entry.state == "writing"
    left = []
    for done, change in enumerate(entry.changes):
        source, target = (change.old, change.new) if forward else (change.new, change.old)
        now = content_of(change.file)
        if now == target:
            continue
        # Without power, a file that was renamed into place may come back empty.
        if now not in (source, b""):
            left.append(change.file.name)
            continue
        try:
            _put(change.file, target)
        except OSError as problem:
            raise MachineError(
                f"{change.file} cannot be written ({problem.strerror}); {done} of"
                f" {counted(len(entry.changes), 'caption')} are done.",
                fix="Put that right; the next `wan22lora captions` command in the folder completes the rest,"
                " and `captions undo` takes all of it back.",
            ) from problem
    for change in entry.changes:
        _to_disk(change.file)
    record(replace(entry, state="done" if forward else "undone"))
    return left


def _put(file: Path, content: bytes | None) -> None:
    if content is None:
        file.unlink(missing_ok=True)
        return
    # A caption that is a link stays one: what it points to is replaced.
    real = Path(os.path.realpath(file))
    own = real.parent == Path(os.path.realpath(file.parent))
    temporary = file.parent / FOLDER / _TEMPORARY if own else real.with_name(f".{_TEMPORARY}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        if real.exists():
            temporary.chmod(real.stat().st_mode & 0o7777)
        temporary.replace(real)
    finally:
        temporary.unlink(missing_ok=True)


def _to_disk(file: Path) -> None:
    try:
        handle = os.open(file, os.O_RDONLY)
    except OSError:
        return  # it was removed
    with suppress(OSError):  # a file system that cannot
        os.fsync(handle)
    os.close(handle)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Turns what the disk refuses before the first caption is written into a MachineError."""
    try:
        yield
    except OSError as problem:
        message = (
            f"{problem.filename or folder / FOLDER} cannot be written ({problem.strerror or problem}),"
            " so the change could not be taken back. No caption was changed."
        )
        raise MachineError(message, fix="Make the folder writable, or make room on its disk.") from problem
