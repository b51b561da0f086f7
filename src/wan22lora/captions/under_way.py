"""Work that waits for somebody else, several pieces at a time: each in a thread that an end of the program leaves."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class UnderWay(Generic[_Task, _Result]):
    """Starts tasks and hands out what became of them, in the order in which they end."""

    def __init__(self, work: Callable[[_Task], _Result]) -> None:
        self._work = work
        self._ended: deque[tuple[_Task, _Result | BaseException]] = deque()
        self._bell = threading.Semaphore(0)
        self.count = 0
        """Tasks that were started and not taken off yet."""

    def start(self, task: _Task) -> None:
        self.count += 1
        threading.Thread(target=self._run, args=(task,), daemon=True).start()

    def wait(self, seconds: float | None) -> None:
        """Until something has ended or the time is over."""
        if self._bell.acquire(timeout=seconds):
            self._bell.release()

    def first_ended(self) -> tuple[_Task, _Result | BaseException] | None:
        """What has ended; it stays until `take_off`, so that an interruption between the two loses nothing."""
        return self._ended[0] if self._ended else None

    def take_off(self) -> None:
        self._bell.acquire()
        self._ended.popleft()
        self.count -= 1

    def _run(self, task: _Task) -> None:
        try:
            ended: _Result | BaseException = self._work(task)
        except BaseException as problem:  # whoever waits for it gets it
            ended = problem
        self._ended.append((task, ended))
        self._bell.release()
