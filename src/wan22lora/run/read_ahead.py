"""The next training's weight file, read into the page cache while this one trains.

musubi's trainer then loads it at the speed of RAM instead of the disk's. A thread reads it with plain reads, since
posix_fadvise does nothing on some network file systems; it pauses after each piece for as long as the piece took, so
that at least half of the disk stays free for the training. Nothing depends on it: it stops at once, it gives way where
RAM becomes scarce, and what goes wrong in it changes nothing.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from wan22lora.machine.ram import Ram, read_ram
from wan22lora.plan.model import Step

PIECE = 1 << 22
"""Bytes of one read: few enough that a pause is never far."""
MARGIN = 4 << 30
"""Bytes of RAM that must stay available besides the file."""
_LOOK_EVERY = 64
"""Pieces between two looks at the RAM."""
_LEAST_PAUSE = 0.001
_LOWEST_PRIORITY = 19
_WEIGHTS = "--dit"
"""The option that names a training's model."""


class ReadAhead:
    """Reads one file in the background, once. Its methods are for one thread, which writes the ledger."""

    def __init__(self, path: Path, step_id: str, ram: Callable[[], Ram | None] = read_ram) -> None:
        self.step_id = step_id
        """Of the training that will load the file."""
        self._path = path
        self._ram = ram
        self._started = False
        self._told = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="read-ahead", daemon=True)
        self._outcome = ""
        self._size = self._read = 0

    def start(self) -> None:
        """Begin, unless it has begun before."""
        if not self._started:
            self._started = True
            with suppress(RuntimeError):  # no more threads to be had
                self._thread.start()

    def stop(self) -> None:
        """Read no further. Does not wait: a disk may take its time over the piece that is under way."""
        self._stopping.set()

    def news(self) -> str:
        """What was done, in words, once it has ended or was stopped; empty before, the second time, and of nothing."""
        stopped = self._stopping.is_set() and self._read > 0
        if self._told or not (self._outcome or stopped):
            return ""
        self._told = True
        return self._outcome or self._so_far()

    def _work(self) -> None:
        if sys.platform == "linux":  # elsewhere a priority belongs to whole processes
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        with suppress(OSError):
            self._read_file()

    def _read_file(self) -> None:
        began = time.monotonic()
        with self._path.open("rb", buffering=0) as file:
            self._size = os.fstat(file.fileno()).st_size
            buffer = bytearray(PIECE)
            for piece in itertools.count():
                if piece % _LOOK_EVERY == 0 and not self._fits():
                    return
                at = time.monotonic()
                count = file.readinto(buffer)
                if not count:
                    break
                self._read += count
                if self._stopping.wait(max(time.monotonic() - at, _LEAST_PAUSE)):
                    return
        self._outcome = f"{self._so_far()} in {time.monotonic() - began:.0f} s"

    def _fits(self) -> bool:
        """Whether the RAM has room for all of it: what the kernel would push out again need not be read."""
        ram = self._ram()
        if ram is None:
            return False
        if ram.available >= self._size + MARGIN:
            return True
        free = f"{_gb(ram.available)} of RAM are free, and {_gb(self._size + MARGIN)} are wanted"
        done = f"{self._so_far()} and no further" if self._read else f"{self._path.name} is not read ahead"
        self._outcome = f"{done}: {free}"
        return False

    def _so_far(self) -> str:
        much = _gb(self._size) if self._read == self._size else f"{_gb(self._read)} of {_gb(self._size)}"
        return f"{self._path.name}: {much} read ahead into memory"


def read_ahead_during(step: Step, later: Sequence[Step]) -> ReadAhead | None:
    """For the weight file of the first of the later steps that will train, unless this step has loaded it itself."""
    loaded = step.file_of(_WEIGHTS)
    upcoming = next((each for each in later if not each.fresh and each.file_of(_WEIGHTS)), None)
    path = upcoming.file_of(_WEIGHTS) if upcoming is not None else None
    if loaded is None or upcoming is None or path is None or path == loaded:
        return None
    return ReadAhead(path, upcoming.id)


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count < 1e9 else f"{count / 1e9:.1f} GB"
