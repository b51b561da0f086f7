"""What one process of a training told of itself: how far it came, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass

from wan22lora.plan.model import Step
from wan22lora.plan.states import State, read_states
from wan22lora.run.ledger import Event
from wan22lora.run.pace import Pace


@dataclass(frozen=True)
class Cause:
    """Why a training could not go on, in its own words."""

    reason: str
    """nan, out-of-memory, disk-full, wrong-musubi, not-fast or error."""
    text: str
    fix: str


class Account:
    """Takes a training's own events in. Malformed ones change nothing."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self.begun = False
        """The weights are loaded, and the first batch is under way."""
        self.trained = 0
        """Steps that this process did."""
        self.reached = 0
        """The last optimizer step done."""
        self.stopped = False
        """It ended because a signal asked for it, and kept what it could."""
        self.failed: Cause | None = None
        self._pace = Pace()

    def take(self, event: Event) -> None:
        kind, number = event["event"], event.get("step")
        if kind == "training-begun":
            self.begun = True
        if kind in ("training-begun", "train-step") and isinstance(number, int):
            self.reached = number
            if kind == "train-step":
                self.trained += 1
                seconds = event.get("seconds")
                self._pace.add(seconds if isinstance(seconds, (int, float)) else None)
        elif kind == "training-stopped":
            self.stopped = True
        elif kind == "training-failed":
            self.failed = Cause(*(str(event.get(key) or "") for key in ("reason", "text", "fix")))

    @property
    def seconds_left(self) -> float | None:
        """What its steps will still take at their recent pace; None while nobody can know."""
        each, total = self._pace.seconds_per_step, self._step.predicted_steps
        return None if each is None or total is None else each * max(total - self.reached, 0)

    @property
    def state(self) -> State | None:
        """The newest state on the disk: where the next start goes on."""
        return read_states(self._step.states).newest if self._step.states is not None else None

    @property
    def keeps_states(self) -> bool:
        return self._step.states is not None

    @property
    def out_of_memory(self) -> bool:
        return self.failed is not None and self.failed.reason == "out-of-memory"
