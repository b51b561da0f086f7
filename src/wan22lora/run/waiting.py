"""The next training's program, started while the step before it is at work.

It imports what a training needs and waits to be told to begin (trainer/waiting.py), so that the GPU need not wait for
that. Nothing depends on it: one that has died, or whose command is no longer the step's, is started anew when the
step's turn comes. The ledger hears of it only then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from wan22lora.errors import MachineError
from wan22lora.machine.ram import Ram, read_ram
from wan22lora.plan.model import Step
from wan22lora.run.pipes import Stream
from wan22lora.run.process import Child
from wan22lora.trainer.waiting import VARIABLE

LEAD_SECONDS = 60.0
"""So long before the end of a training the next one's program is started: more than any start took that was seen."""
ROOM = 6 << 30
"""Bytes of RAM that must be available: 2 GiB for the program, and as much besides as reading ahead leaves free."""
_LOOK_EVERY = 5.0
"""Seconds between two looks at the RAM, while it is too full."""
_LOADED = ("--vae", "--t5")
"""Options that name what caching loads."""


class Waiting:
    """The programs that wait. For one thread; closed, it leaves none."""

    def __init__(self, grace_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace_seconds, self._clock = grace_seconds, clock
        self._started: dict[str, tuple[Step, Child | None]] = {}
        self._look_again_at: float | None = None

    def start(self, step: Step, during: Iterable[Step]) -> None:
        """Start the step's program, once, as soon as there is room for it beside the steps that run meanwhile."""
        if step.id in self._started or not self._fits(during):
            return
        child = None
        with suppress(MachineError):  # told when its turn has come, if it still cannot be started then
            child = Child(
                step.argv,
                step.cwd,
                {**environment(step), VARIABLE: "1"},
                on_chunk=_unheard,
                waits=True,
                grace_seconds=self._grace_seconds,
                clock=self._clock,
            )
        self._started[step.id] = (step, child)

    def take(self, step: Step) -> Child | None:
        """The program that waits for this very step, now the caller's; None where none does."""
        planned, child = self._started.pop(step.id, (step, None))
        if child is None:
            return None
        if child.alive and (planned.argv, planned.cwd, planned.env) == (step.argv, step.cwd, step.env):
            return child
        child.close()
        return None

    def close(self) -> None:
        """End all of them at once: they have nothing to lose."""
        while self._started:
            _, (_, child) = self._started.popitem()
            if child is not None:
                child.close()

    def _fits(self, during: Iterable[Step]) -> bool:
        now = self._clock()
        if self._look_again_at is not None and now < self._look_again_at:
            return False
        if has_room(read_ram(), during):
            return True
        self._look_again_at = now + _LOOK_EVERY
        return False


def has_room(ram: Ram | None, during: Iterable[Step]) -> bool:
    """Whether a program can wait beside these steps; not where nobody knows the RAM."""
    return ram is not None and ram.available >= ROOM + sum(map(_yet_to_load, during))


def environment(step: Step) -> dict[str, str]:
    """The whole environment of a step's program."""
    return {**os.environ, **step.env}


def _yet_to_load(step: Step) -> int:
    """Bytes that a caching step loads through RAM; of a training the next one waits only when it has loaded all."""
    if step.predicted_steps is not None:
        return 0
    files = map(step.file_of, _LOADED)
    return sum(file.stat().st_size for file in files if file is not None and file.is_file())


def _unheard(_: Stream, __: bytes) -> None:
    """What a program says while it waits stays in its pipes."""
