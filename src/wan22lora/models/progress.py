"""What a person sees of a fetch: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol


class Reporter(Protocol):
    """Hears how a fetch goes."""

    def say(self, text: str) -> None:
        """One line."""

    def begin(self, title: str, total: int, done: int) -> None:
        """A file of `total` bytes starts to arrive; `done` of them are here already."""

    def advance(self, count: int) -> None:
        """More bytes; negative when some turned out to be of no use."""

    def end(self) -> None:
        """The file is complete, or was given up."""


def gigabytes(count: int) -> str:
    """Decimal units, as the hub and disk makers count."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"


class Lines:
    """For logs and pipes: at most one line of progress each `every` seconds."""

    def __init__(
        self, print_line: Callable[[str], None], every: float = 30, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._print, self._every, self._clock = print_line, every, clock
        self._title, self._total, self._done, self._new = "", 0, 0, 0
        self._started = self._told = 0.0

    def say(self, text: str) -> None:
        self._print(text)

    def begin(self, title: str, total: int, done: int) -> None:
        self._title, self._total, self._done, self._new = title, total, done, 0
        self._started = self._told = self._clock()

    def advance(self, count: int) -> None:
        self._done += count
        self._new += count
        now = self._clock()
        if now - self._told >= self._every:
            self._told = now
            self._print(f"  {self._title}: {gigabytes(self._done)} of {gigabytes(self._total)}{self._speed(now)}")

    def end(self) -> None:
        self._title = ""

    def _speed(self, now: float) -> str:
        seconds = now - self._started
        if seconds <= 0 or self._new <= 0:
            return ""
        rate = self._new / seconds
        left = max(0, self._total - self._done) / rate
        return f", {rate / 1e6:,.0f} MB/s, {left / 60:,.0f} min left" if left >= 90 else f", {rate / 1e6:,.0f} MB/s"


class Bar:
    """For a terminal. Drawn by rich, on stderr like all that is not the answer itself."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._progress: Any = None
        self._task: Any = None

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def begin(self, title: str, total: int, done: int) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), Speed(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._progress.start()
        self._task = self._progress.add_task(title, total=total, completed=done)

    def advance(self, count: int) -> None:
        if self._progress is not None:
            self._progress.advance(self._task, count)

    def end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def reporter_for(print_line: Callable[[str], None]) -> Reporter:
    """A bar where somebody looks at stderr, lines through `print_line` otherwise."""
    return Bar() if sys.stderr.isatty() else Lines(print_line)
