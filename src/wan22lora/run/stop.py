"""The wish to stop, counted by signal handlers and read by the loop that watches a process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_LISTENED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopRequest:
    """How often a stop was asked for, and by which signal first. Safe in signal handlers and across threads.

    The first request ends the running process politely, the second at once (run/process.py).
    """

    def __init__(self) -> None:
        self._signals: list[int] = []

    def request(self, number: int = signal.SIGINT) -> None:
        """Ask once more; `number` is the signal that asked."""
        self._signals.append(int(number))

    @property
    def count(self) -> int:
        return len(self._signals)

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that this stop ended: 130 SIGINT, 143 SIGTERM, 129 SIGHUP."""
        return 128 + (self._signals[0] if self._signals else int(signal.SIGINT))

    @contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Count SIGINT, SIGTERM and SIGHUP instead of dying of them. For the main thread only."""
        before: dict[int, object] = {}
        try:
            for number in _LISTENED:
                current = signal.getsignal(number)
                if current is signal.SIG_IGN and number == signal.SIGINT:
                    # A script's `wan22lora train &` starts with SIGINT ignored, and exec leaves an ignored
                    # signal ignored: no child could be interrupted. A handler that does nothing is reset.
                    before[number] = signal.signal(number, lambda *_: None)
                elif current is not signal.SIG_IGN:  # under nohup, SIGHUP stays ignored
                    before[number] = signal.signal(number, lambda number, _: self.request(number))
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # type: ignore[arg-type]
