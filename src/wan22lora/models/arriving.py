"""Whether another process is fetching a file: it holds a lock beside the place where the file will be."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout


def lock_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def is_arriving(path: Path) -> bool:
    """True while a `wan22lora models fetch` or `setup` that is alive has this file before it or is at it."""
    if not lock_path(path).exists():
        return False
    arrival = Arrival(path)
    if not arrival.take():
        return True
    arrival.leave()
    return False


class Arrival:
    """The claim of one process on one file that is to be fetched."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(lock_path(path))

    @property
    def held(self) -> bool:
        return self._lock.is_locked

    def take(self, seconds: float = 0) -> bool:
        """Claims the file; False if another process has it and keeps it for `seconds`.

        True without a claim where the file system knows no locks: a fetch is better than none.
        """
        if self.held:
            return True
        try:
            self._lock.acquire(timeout=seconds, poll_interval=0.05)
        except Timeout:
            return False
        except (OSError, NotImplementedError):
            return True
        return True

    def leave(self, *, complete: bool = False) -> None:
        """Gives the claim up. Of a file that is complete the lock file goes too; nobody will want it any more."""
        if not self.held:
            return
        if complete:
            with suppress(OSError):
                lock_path(self.path).unlink()
        with suppress(OSError):
            self._lock.release()
