"""What a training takes once it has warmed up: the mean time of its steps and the GPU memory at its highest.

The mean, where run/pace.py has a median: where pictures train beside clips, or a class is preserved in every fourth
batch, a forecast wants what all steps together take.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TypeGuard

from wan22lora.plan.model import Step
from wan22lora.run.ledger import Event

WARM_UP = 10
"""First steps that are left out: each shape of a batch compiles in one of them."""
ENOUGH = 20
"""Steps after those that say something."""
_COMPILED = 10
"""A later step that takes so many times as long as usual compiled something."""


@dataclass(frozen=True)
class Taken:
    steps: int
    """That were measured."""
    seconds: float
    """Of a step, in the mean."""
    gpu_peak: int | None
    """Bytes; None where the program does not say."""


Keep = Callable[[Step, Taken], None]


class Measuring:
    """Takes in the events of one process of a training; tells `keep` after the warm-up and at the end."""

    def __init__(self, step: Step, keep: Keep | None) -> None:
        self._step, self._keep = step, keep
        self._seen = self._counted = 0
        self._sum = 0.0
        self._recent: deque[float] = deque(maxlen=50)
        self._gpu_peak: int | None = None

    def take(self, event: Event) -> None:
        """Malformed events change nothing."""
        seconds, peak = event.get("seconds"), event.get("gpu_peak")
        if self._keep is None or event.get("event") != "train-step" or not _is_number(seconds):
            return
        self._seen += 1
        if self._seen <= WARM_UP:
            return
        if _is_number(peak):
            self._gpu_peak = max(int(peak), self._gpu_peak or 0)
        if len(self._recent) >= WARM_UP and seconds > _COMPILED * median(self._recent):
            return
        self._recent.append(seconds)
        self._sum += seconds
        self._counted += 1
        if self._counted == ENOUGH:
            self._tell()

    def finish(self) -> None:
        """The process has ended, well or badly."""
        if self._counted > ENOUGH:
            self._tell()

    def _tell(self) -> None:
        if self._keep is not None:
            self._keep(self._step, Taken(self._counted, round(self._sum / self._counted, 6), self._gpu_peak))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
