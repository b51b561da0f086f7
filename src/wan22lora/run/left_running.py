"""What a wan22lora that was killed has left running: its guard ends that, and a training saves a state meanwhile."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

from wan22lora.errors import RunFolderError
from wan22lora.plan.trainer_options import LEDGER_FILE
from wan22lora.run import alive
from wan22lora.run.ledger import read_events
from wan22lora.run.state import StepState, fold
from wan22lora.run.status import is_running

LOOK_AGAIN_SECONDS = 0.2
LATER_SECONDS = 2.0
"""A guard that kills at the end of the grace needs a moment for it."""


def left_running(folder: Path) -> tuple[StepState, ...]:
    """The steps that still run on this machine though their wan22lora is gone; asked while nobody else runs there."""
    unfinished = fold(read_events(folder / LEDGER_FILE)).unfinished
    return tuple(step for step in unfinished if step.host == socket.gethostname() and _still_runs(step))


def wait_for_left_running(
    folder: Path,
    grace_seconds: float,
    tell: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Waits until what a killed run has left has ended, for as long as its guard lets it live at most.

    To be called before a plan is made, which shall know the state that is being saved. A run whose wan22lora lives is
    not waited for: its lock will refuse this one. True if there was something to wait for.
    """
    steps = () if is_running(folder) else left_running(folder)
    for step in steps:
        ending = "saving a state" if _saves(step) else "ending"
        tell(f"{step.id} of a killed run is {ending} ({grace_seconds:.0f} s at most); waiting for it")
    deadline = clock() + grace_seconds + LATER_SECONDS
    while any(map(_still_runs, steps)) and clock() < deadline:
        sleep(LOOK_AGAIN_SECONDS)
    return bool(steps)


def refuse_left_running(folder: Path, grace_seconds: float) -> None:
    """Raises RunFolderError if a step of a killed wan22lora still runs on this machine."""
    steps = left_running(folder)
    if not steps:
        return
    saving, losing = (", saving a state", " and loses that state") if any(map(_saves, steps)) else ("", "")
    one = len(steps) == 1
    names, pids = (" and ".join(each) for each in zip(*((step.id, str(step.pid)) for step in steps), strict=True))
    groups = " ".join(f"-{step.pgid}" for step in steps)
    raise RunFolderError(
        f"{names} of an earlier, killed run {'is' if one else 'are'} still running "
        f"({'process' if one else 'processes'} {pids}).",
        fix=f"{'it ends by itself' if one else 'they end by themselves'}{saving} ({grace_seconds:.0f} s at most): "
        f"type the same command again then\n"
        f"→ only if that never happens: kill -KILL -- {groups} ends {'it' if one else 'them'} at once{losing}",
    )


def _saves(step: StepState) -> bool:
    """Whether a state comes of its end: of a training that has begun, under the trainer extension."""
    return step.id.startswith("train") and step.loaded and step.epoch is not None


def _still_runs(step: StepState) -> bool:
    if not isinstance(step.pid, int) or not isinstance(step.pgid, int):
        return False
    born = alive.birth(step.pid)
    if born is not None and born != step.birth:
        return False  # the number belongs to somebody else by now
    return alive.group_alive(step.pgid)
