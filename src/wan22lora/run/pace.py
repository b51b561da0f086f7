"""Seconds per optimizer step, measured here: tqdm's figure is an average over the run and starts wrong."""

from __future__ import annotations

from collections import deque
from statistics import median

_RECENT = 50


class Pace:
    """The median of the last 50 intervals, the first of all left out: it holds compiling and warming up.

    The median does not move when a single interval contains a checkpoint or sample pictures.
    """

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=_RECENT)
        self._first_dropped = False

    def add(self, seconds: float | None) -> None:
        """Add the seconds of one step; None where they are unknown, as for the very first step."""
        if seconds is None:
            return
        if self._first_dropped:
            self._intervals.append(seconds)
        self._first_dropped = True

    @property
    def seconds_per_step(self) -> float | None:
        """None until two intervals are known."""
        return median(self._intervals) if self._intervals else None
