"""The end of the process, without taking everything apart that the end of a process frees anyway.

Python deletes every module and object of torch and musubi one after the other when it ends: 1.4 s of a CPU on a small
training (docs/benchmarks.md), in which the GPU waits for the next expert. Threads are still waited for, and what others
have registered for the end (data loader workers, logs, temporary folders) is done. Standard library only.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress


class Leaving:
    """To be made before anything else registers itself: Python asks for what was registered last first."""

    def __init__(self) -> None:
        self.code: int | None = None
        """The exit code. As long as there is none, as after an error that nobody caught, Python ends as always."""
        atexit.register(self._leave)

    def _leave(self) -> None:
        if self.code is None:
            return
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # whoever read it is gone, or it was closed
                stream.flush()
        os._exit(self.code)
