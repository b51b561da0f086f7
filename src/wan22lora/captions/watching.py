"""What a person sees while captions are written: a bar and each caption on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wan22lora.captions.show import readable
from wan22lora.captions.writing import Reporter

_EVERY = 30.0
"""Seconds between two lines in a log."""


_WORTH_TELLING = 2.0
"""Seconds of a pause."""
_MANY = 200
"""Captions; fewer are written before a bar could be read."""


def _pause(seconds: float, at_once: int) -> str:
    return f"the endpoint wants fewer questions: waits {seconds:.0f} s, then asks {at_once} at once"


class Silent:
    """For the first caption, which is shown by itself."""

    def answered(self, name: str, caption: str) -> None: ...

    def failed(self, name: str, why: str) -> None: ...

    def pausing(self, seconds: float, at_once: int) -> None: ...


class Lines:
    """For logs and pipes: what failed, and otherwise at most one line each `every` seconds."""

    def __init__(
        self,
        print_line: Callable[[str], None],
        total: int,
        every: float = _EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._print, self._total, self._every, self._clock = print_line, total, every, clock
        self._done, self._told = 0, clock()

    def answered(self, name: str, caption: str) -> None:  # noqa: ARG002
        self._count()

    def failed(self, name: str, why: str) -> None:
        self._print(f"  {readable(name)} {why}")
        self._count()

    def pausing(self, seconds: float, at_once: int) -> None:
        if seconds >= _WORTH_TELLING:
            self._print(f"  {_pause(seconds, at_once)}")

    def _count(self) -> None:
        self._done += 1
        now = self._clock()
        if now - self._told >= self._every:
            self._told = now
            self._print(f"  {self._done} of {self._total}")


class Bar:
    """For a terminal; drawn on stderr, as it is not the answer itself."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def answered(self, name: str, caption: str) -> None:
        self._tell(name, " ".join(caption.split()), "")

    def failed(self, name: str, why: str) -> None:
        self._tell(name, why, "red")

    def pausing(self, seconds: float, at_once: int) -> None:
        if seconds >= _WORTH_TELLING:
            self._progress.console.print(f"  {_pause(seconds, at_once)}", style="yellow")

    def _tell(self, name: str, text: str, style: str) -> None:
        from rich.text import Text

        line = Text.assemble((f"  {readable(name)}  ", "dim"), (readable(text), style))
        self._progress.console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        self._progress.advance(self._task)


@contextmanager
def watching(total: int, print_line: Callable[[str], None]) -> Iterator[Reporter]:
    """A bar where somebody looks at stderr, lines through `print_line` otherwise."""
    if not sys.stderr.isatty():
        yield Lines(print_line, total)
        return
    with _bar("captions") as progress:
        yield Bar(progress, progress.add_task("", total=total))


@contextmanager
def counting(total: int) -> Iterator[Callable[[], None]]:
    """A bar for what takes seconds where it is about thousands of captions; to be called after each.

    Nothing where nobody looks at stderr, nor for a few.
    """
    if not sys.stderr.isatty() or total < _MANY:
        yield lambda: None
        return
    with _bar("written") as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


def _bar(what: str) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(f"  {what}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True, highlight=False), transient=True)
