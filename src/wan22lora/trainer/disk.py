"""Writing large files: whole or not at all, and with patience for a full disk."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .events import Events
from .failing import TrainingFailed
from .stopping import Stop

SPARE_BYTES = 64 * 2**20
"""Left free beside a file: the ledger and the logs must go on."""
LOOK_AGAIN_SECONDS = 2.0
Written = TypeVar("Written")


class Disk:
    """Waits while there is no room, for `patience` seconds, then gives up."""

    def __init__(self, events: Events, stop: Stop, patience: float) -> None:
        self._events, self._stop, self._patience = events, stop, patience

    def write(self, what: str, size: int, folder: Path, write: Callable[[], Written]) -> Written:
        """Calls `write` when `folder`'s disk has room for `size` bytes, and again after a disk that filled meanwhile.

        Raises TrainingFailed (disk-full) when the patience is over or a stop is asked for.
        """
        paused_at: float | None = None
        while True:
            free = shutil.disk_usage(folder).free
            if free >= size + SPARE_BYTES:
                try:
                    written = write()
                except Exception as error:  # torch and safetensors have errors of their own for a full disk
                    if not _is_full(error, folder, size):
                        raise
                else:
                    if paused_at is not None:
                        self._events.emit("unpaused", what=what)
                    return written
            needs = f"it takes {_amount(size)}, {_amount(SPARE_BYTES)} are kept free beside it"
            text = f"no room for {what}: {needs}, and {folder} has {_amount(free)} free"
            if paused_at is None:
                paused_at = time.monotonic()
                self._events.emit("paused", text=f"{text}; waiting for room")
                print(f"{text}; waiting for room", flush=True)
            if self._stop.wanted or time.monotonic() - paused_at > self._patience:
                raise TrainingFailed("disk-full", text, "make room, then type the same command again")
            time.sleep(min(LOOK_AGAIN_SECONDS, self._patience))


def _amount(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _is_full(error: Exception, folder: Path, size: int) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "No space left" in str(error):
        return True
    return shutil.disk_usage(folder).free < size + SPARE_BYTES


def sha256_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def to_disk(path: Path) -> None:
    """Waits until a file or a folder's entries are on the disk itself, not in memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
