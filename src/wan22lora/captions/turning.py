"""What an undo or a redo would do, and why it does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wan22lora.captions.changes import Step, content_of
from wan22lora.captions.journal import Change
from wan22lora.dataset.problems import counted, listed
from wan22lora.errors import DatasetError, Finding


def turned(step: Step, *, back: bool) -> tuple[Change, ...]:
    """From what is there now to what was there before the step, or after it."""
    wanted = ((change.file, change.old if back else change.new) for change in step.changes)
    found = (Change(file, content_of(file), target) for file, target in wanted)
    return tuple(change for change in found if change.old != change.new)


def refusal(edited: Sequence[Path], command: str, *, back: bool) -> DatasetError:
    """Somebody's later words are not overwritten unasked."""
    message = f"{counted(len(edited), 'caption')} edited since: {listed([file.name for file in edited])}"
    fix = f"{command}  ({'redo' if back else 'undo'} brings the edited words back)"
    return DatasetError("Nothing was changed.", findings=[Finding(str(edited[0].parent), message, fix)])
