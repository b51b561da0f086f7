"""Taking changes of captions back and making them again. What was edited by hand between becomes a change of its own,
so that every text that a command overwrites is found again by `undo` and `redo`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from wan22lora.captions.caption_file import as_now
from wan22lora.captions.changes import UNFINISHED, Tell, complete, disk_refusals_told, right_now
from wan22lora.captions.journal import Change, Entry, State, claimed, newest_first, record_instead
from wan22lora.dataset.problems import counted, listed
from wan22lora.errors import DatasetError, Finding

BY_HAND = "edits by hand"
"""What stands in the record in the place of a command."""


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
    def changes(self) -> tuple[Change, ...]:
        return tuple(change for entry in self.entries for change in entry.changes)


def step_back(folders: Iterable[Path]) -> Step | None:
    """What can be taken back: the last change of these folders, be it finished or interrupted."""
    tops = [
        next((entry for entry in newest_first(folder) if entry.state in ("done", "writing")), None)
        for folder in set(folders)
    ]
    done = sorted((entry for entry in tops if entry is not None), key=_age, reverse=True)
    return Step(tuple(entry for entry in done if entry.action == done[0].action)) if done else None


def step_forward(folders: Iterable[Path]) -> Step | None:
    """What can be made again: the change that was taken back last, where no other followed."""
    chains = [_taken_back(folder) for folder in set(folders)]
    nexts = sorted((chain[-1] for chain in chains if chain), key=_age)
    # One command's changes of several folders stay together, also where one folder has edits by hand before them.
    later = {entry.action for chain in chains for entry in chain[:-1]}
    first = next((entry for entry in nexts if entry.action not in later), nexts[0] if nexts else None)
    return None if first is None else Step(tuple(entry for entry in nexts if entry.action == first.action))


def _taken_back(folder: Path) -> list[Entry]:
    """Newest first."""
    latest = takewhile(lambda entry: entry.state not in ("done", "writing"), newest_first(folder))
    return [entry for entry in latest if entry.state == "undone"]


def _age(entry: Entry) -> tuple[str, int, int]:
    return entry.when, entry.number, entry.part


def edited_since(step: Step) -> tuple[Path, ...]:
    """The captions that are not as the step, or the undoing of it, left them. Raises DatasetError."""
    return tuple(edit.file for entry in step.entries for edit in _edits(entry))


def turned(step: Step, *, back: bool) -> tuple[Change, ...]:
    """From what is there now to what was there before the step, or after it."""
    found = (Change(each.file, as_now(each), each.old if back else each.new) for each in step.changes)
    return tuple(change for change in found if change.old != change.new)


def refusal(edited: Sequence[Path], command: str, *, back: bool) -> DatasetError:
    """Somebody's later words are not overwritten unasked."""
    message = f"{counted(len(edited), 'caption')} edited or removed since: {listed([file.name for file in edited])}"
    fix = f"{command}  ({'redo, typed twice,' if back else 'undo'} brings that back)"
    return DatasetError("Nothing was changed.", findings=[Finding(str(edited[0].parent), message, fix)])


def take_back(step: Step, tell: Tell = lambda: None) -> list[Path]:
    """Undo a step. What was edited since is taken back first, as a step of its own that comes behind this one.

    Returns those that somebody edited in that very moment and that were left as they are. Raises MachineError and
    DatasetError.
    """
    return _turn(step, tell, back=True)


def make_again(step: Step, tell: Tell = lambda: None) -> list[Path]:
    """Redo a step that was taken back. What was edited since becomes a step of its own before this one.

    Returns and raises as `take_back`.
    """
    return _turn(step, tell, back=False)


def _turn(step: Step, tell: Tell, *, back: bool) -> list[Path]:
    folders = [entry.folder for entry in step.entries]
    action, when = secrets.token_hex(8), right_now()
    with disk_refusals_told(folders[0]), claimed(folders):
        recorded: list[tuple[Entry, tuple[Entry, ...]]] = []
        try:
            for entry in step.entries:
                these = _turned_round(entry, _edits(entry), action, when, back=back)
                recorded.append((entry, record_instead([entry], these)))
        except OSError:
            for entry, these in recorded:
                with suppress(OSError):
                    record_instead(these, [entry])
            raise
        work = [entry for _, these in recorded for entry in reversed(these) if entry.state in UNFINISHED]
        return [file for entry in work for file in complete(entry, tell)]


def _turned_round(entry: Entry, edits: tuple[Change, ...], action: str, when: str, *, back: bool) -> tuple[Entry, ...]:
    """What stands in the record instead of an entry, oldest first."""
    turned_entry = replace(entry, state="undoing" if back else "writing")
    if not edits:
        return (turned_entry,)
    state: State = "undoing" if back else "done"
    by_hand = replace(entry, action=action, when=when, what=BY_HAND, state=state, changes=edits)
    if back:
        return (turned_entry, by_hand)
    found = {edit.file: edit.new for edit in edits}
    changes = tuple(replace(each, old=found.get(each.file, each.old)) for each in entry.changes)
    return (by_hand, replace(turned_entry, changes=changes))


def _edits(entry: Entry) -> tuple[Change, ...]:
    """From what the entry, or its undoing, left to what is there now."""
    edits = []
    for change in entry.changes:
        left = change.old if entry.state == "undone" else change.new
        now = as_now(change)
        half_done = entry.state == "writing" and now in (change.old, b"")
        if now != left and not half_done:
            edits.append(Change(change.file, left, now))
    return tuple(edits)
