"""The wish to stop: asked for by a signal, granted between two batches."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from .failing import TrainingStopped

LISTENED = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Counts SIGINT and SIGTERM. The first is a wish, except where nothing would be lost; the second ends at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.broken_off: int | None = None
        """The signal for which TrainingStopped was raised amid other work, which may have turned it into an error."""
        self._at_once = True

    def listen(self) -> None:
        for number in LISTENED:
            signal.signal(number, self._asked)

    def ignore(self) -> None:
        """From here on the process only ends; Python would take the handlers away in that and die of a signal."""
        for number in LISTENED:
            signal.signal(number, signal.SIG_IGN)

    @property
    def wanted(self) -> bool:
        return self.signal is not None

    def agree(self, number: int) -> None:
        """A stop that another process of the training was asked for."""
        if number and self.signal is None:
            self.signal = number

    def finish_batches(self) -> None:
        """From here on a first signal waits for the end of the batch."""
        self._at_once = False

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Work that may be left half done: a first signal raises TrainingStopped out of it."""
        self.raise_if_wanted()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def raise_if_wanted(self) -> None:
        if self.signal is not None:
            raise TrainingStopped(self.signal)

    def _asked(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)  # the second wish: no more Python, not even cleaning up
        self.signal = number
        if self._at_once:
            self.broken_off = number
            raise TrainingStopped(number)


class Workers:
    """What a data loader's workers do with the signals that the whole process group gets: nothing, until the end.

    A worker that died of one would take the main process with it before a state is saved. At the end of a process
    multiprocessing ends its workers by SIGTERM and waits for them, so then they must listen.
    """

    def __init__(self) -> None:
        self._ending = multiprocessing.Value("b", 0, lock=False)

    def __call__(self, _: int) -> None:
        """In a worker, before it loads anything."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._asked)

    def release(self) -> None:
        """In the main process, when nothing is left to be saved."""
        self._ending.value = 1

    def _asked(self, _: int, __: FrameType | None) -> None:
        if self._ending.value:
            os._exit(0)
