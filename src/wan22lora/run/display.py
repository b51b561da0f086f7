"""What a person sees of a run while it goes on, fed with the ledger's events and the program's lines."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Protocol

from wan22lora.run.ledger import Event
from wan22lora.run.state import Folding, RunState, StepState

QUIET_SECONDS = 300.0
"""After so long without output a display says so."""

_LINE_LENGTH = 300
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class Display(Protocol):
    """A view of a run in progress."""

    def show(self, event: Event) -> None:
        """An event has been written into the ledger."""

    def heard(self, step_id: str, line: str) -> None:
        """A step's program has printed; `line` is its latest whole line, empty if there was none."""

    def tick(self) -> None:
        """Time has passed; called many times a second."""

    def close(self) -> None:
        """The run is over; leave the terminal as it was."""


class Watched:
    """What every display keeps: the folded events, and for each step its latest line and how long it has been quiet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._folding = Folding()
        self._lines: dict[str, str] = {}
        self._heard_at: dict[str, float] = {}

    def show(self, event: Event) -> None:
        self._folding.add(event)
        if event["event"] == "step-started":
            step_id = str(event["id"])
            self._lines[step_id] = ""
            self._heard_at[step_id] = self.clock()

    def heard(self, step_id: str, line: str) -> None:
        self._heard_at[step_id] = self.clock()
        if line:
            self._lines[step_id] = _printable(line[:_LINE_LENGTH])

    @property
    def state(self) -> RunState:
        return self._folding.state()

    @property
    def running(self) -> tuple[StepState, ...]:
        return tuple(step for step in self.state.steps.values() if step.status == "running")

    def last_line(self, step_id: str) -> str:
        return self._lines.get(step_id, "")

    def quiet_seconds(self, step_id: str) -> float:
        return self.clock() - self._heard_at.get(step_id, self.clock())


class Sturdy:
    """A display whose terminal may vanish (a closed pipe, a lost connection) without ending the run."""

    def __init__(self, display: Display) -> None:
        self._display: Display | None = display

    def show(self, event: Event) -> None:
        self._try(lambda display: display.show(event))

    def heard(self, step_id: str, line: str) -> None:
        self._try(lambda display: display.heard(step_id, line))

    def tick(self) -> None:
        self._try(lambda display: display.tick())

    def close(self) -> None:
        self._try(lambda display: display.close())

    def _try(self, act: Callable[[Display], None]) -> None:
        if self._display is not None:
            try:
                act(self._display)
            except (OSError, ValueError):  # ValueError: the stream is closed
                self._display = None


def _printable(line: str) -> str:
    return "".join(each if each.isprintable() else " " for each in _ESCAPE.sub("", line)).strip()
