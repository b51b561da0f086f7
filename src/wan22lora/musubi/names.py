"""Names of the files that a training leaves, and which of them it leaves (utils/train_utils.py:17-24, 84-172)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Saving:
    """What a training was asked to save. Epochs and steps save independently of each other."""

    every_epochs: int | None = None
    every_steps: int | None = None
    last_epochs: int | None = None
    """How many of the epoch checkpoints to keep."""
    last_steps: int | None = None
    """For how many further optimizer steps a step checkpoint is kept; not a number of files."""
    last_epochs_state: int | None = None
    """Like last_epochs for states; 0 or None: as many as checkpoints."""
    last_steps_state: int | None = None
    state: bool = False
    """A state with each checkpoint, and one at the end."""
    state_at_end: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A LoRA file of a training: after an epoch, after an optimizer step, or (both None) its final one."""

    file: str
    epoch: int | None = None
    step: int | None = None


@dataclass(frozen=True)
class Saved:
    """What stands in the output folder after a whole training, epochs before steps, the final one last."""

    checkpoints: tuple[Checkpoint, ...]
    states: tuple[str, ...]
    """Names of folders."""


def final_file(name: str) -> str:
    return name + SUFFIX


def epoch_file(name: str, epoch: int) -> str:
    return f"{name}-{epoch:06d}{SUFFIX}"


def step_file(name: str, step: int) -> str:
    return f"{name}-step{step:08d}{SUFFIX}"


def final_state(name: str) -> str:
    return f"{name}-state"


def epoch_state(name: str, epoch: int) -> str:
    return f"{name}-{epoch:06d}-state"


def step_state(name: str, step: int) -> str:
    return f"{name}-step{step:08d}-state"


def checkpoint_of(name: str, file: str) -> Checkpoint | None:
    """What the file is to a training with that output name; None when it is not one of its checkpoints."""
    found = re.fullmatch(
        rf"{re.escape(name)}(?:-step(?P<step>\d{{8,}})|-(?P<epoch>\d{{6,}}))?{re.escape(SUFFIX)}", file
    )
    if found is None:
        return None
    epoch, step = found["epoch"], found["step"]
    return Checkpoint(file, epoch=int(epoch) if epoch else None, step=int(step) if step else None)


def saved(name: str, *, epochs: int, steps: int, saving: Saving) -> Saved:
    """What a training of that many epochs (as musubi counts them) and optimizer steps leaves when it runs to its end.

    The last epoch's checkpoint exists under the final name only (training/trainer_base.py:2143); a step checkpoint
    of the last step exists beside the final one.
    """
    epoch_ends = _multiples(saving.every_epochs, epochs - 1)
    step_ends = _multiples(saving.every_steps, steps)
    kept_epochs = _kept_epochs(epoch_ends, saving.every_epochs, saving.last_epochs)
    kept_steps = _kept_steps(step_ends, saving.every_steps, saving.last_steps)
    states: list[str] = []
    if saving.state:
        epoch_limit = saving.last_epochs_state or saving.last_epochs
        step_limit = saving.last_steps_state or saving.last_steps
        states += [epoch_state(name, epoch) for epoch in _kept_epochs(epoch_ends, saving.every_epochs, epoch_limit)]
        states += [step_state(name, step) for step in _kept_steps(step_ends, saving.every_steps, step_limit)]
    if saving.state or saving.state_at_end:
        states.append(final_state(name))
    return Saved(
        checkpoints=(
            *(Checkpoint(epoch_file(name, epoch), epoch=epoch) for epoch in kept_epochs),
            *(Checkpoint(step_file(name, step), step=step) for step in kept_steps),
            Checkpoint(final_file(name)),
        ),
        states=tuple(states),
    )


def _multiples(every: int | None, last: int) -> range:
    return range(every, last + 1, every) if every else range(0)


def _kept_epochs(saves: Iterable[int], every: int | None, limit: int | None) -> list[int]:
    """musubi removes exactly one number at each save, so nothing else is ever cleaned up (train_utils.py:96-103)."""
    kept: dict[int, None] = {}
    for epoch in saves:
        kept[epoch] = None
        if limit is not None and every is not None:
            kept.pop(epoch - every * limit, None)
    return list(kept)


def _kept_steps(saves: Iterable[int], every: int | None, limit: int | None) -> list[int]:
    """The same for steps, where the limit counts steps, not files (train_utils.py:106-116)."""
    kept: dict[int, None] = {}
    for step in saves:
        kept[step] = None
        if limit is not None and every is not None:
            outdated = step - limit - 1
            kept.pop(outdated - outdated % every, None)
    return list(kept)
