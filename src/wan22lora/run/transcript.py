"""The lines of a program worth keeping in memory: how it began, how it ended, no redrawn progress bars."""

from __future__ import annotations

import re
from collections import deque

_BAR = re.compile(r"\d+%\||\d+it \[")
_FIRST = 500
_LAST = 1000


class Transcript:
    """At most 1,500 lines, whatever the program prints; its log has them all."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=_LAST)
        self._bar = ""

    def add(self, line: str) -> None:
        if not line.strip():
            return
        if _BAR.search(line):
            self._bar = line  # the next drawing of the same bar replaces it
            return
        self._keep_bar()
        self._keep(line)

    @property
    def lines(self) -> tuple[str, ...]:
        """In order, with the bar that was drawn last before each other line."""
        self._keep_bar()
        return (*self._first, *self._last)

    def last(self, count: int) -> tuple[str, ...]:
        return self.lines[-count:]

    def _keep_bar(self) -> None:
        if self._bar:
            self._keep(self._bar)
            self._bar = ""

    def _keep(self, line: str) -> None:
        if len(self._first) < _FIRST:
            self._first.append(line)
        else:
            self._last.append(line)
