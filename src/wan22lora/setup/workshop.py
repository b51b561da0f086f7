"""Where a setup works: its lock, its log, and the command that it is running, in the data folder."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wan22lora.errors import MachineError
from wan22lora.files import read_json, write_json, written
from wan22lora.run import alive

_LEFT_OVER_SECONDS = 20.0
"""The guard of a killed setup ends its command within 10 s (run/guard.py)."""


def sweep(path: Path) -> None:
    """Remove what a killed setup left of this file when it was about to write it (files.py's temporary)."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        left.unlink(missing_ok=True)


class Workshop:
    """The data folder of wan22lora as far as setup uses it. Creating the object touches no disk."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._logs = data / "logs"
        self._running = data / "setup-running.json"
        self._holder = data / "setup-holder.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second setup out, and wait for what a killed one left behind. Raises MachineError."""
        from filelock import FileLock, Timeout

        with written(self._data):
            self._data.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._data / "setup.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            holder = read_json(self._holder)
            by = f" (process {holder['pid']} on {holder['host']})" if {"pid", "host"} <= holder.keys() else ""
            raise MachineError(f"Another setup is at work{by}.", fix="wait for it, or stop it with Ctrl-C") from None
        except (OSError, NotImplementedError) as error:
            raise MachineError(
                f"{self._data} cannot be locked: {error}.", fix="set XDG_DATA_HOME to a local disk"
            ) from None
        try:
            with written(self._data):
                for file in (self._holder, self._running):
                    sweep(file)
                write_json(self._holder, {"pid": os.getpid(), "host": socket.gethostname()})
                self._wait_for_left_over()
            yield
        finally:
            self._holder.unlink(missing_ok=True)
            lock.release()

    def new_log(self) -> Path:
        """An empty log under a number that none has had: logs/setup-001.log."""
        with written(self._logs):
            self._logs.mkdir(parents=True, exist_ok=True)
            numbers = (re.fullmatch(r"setup-(\d+)\.log", path.name) for path in self._logs.iterdir())
            number = max((int(match[1]) for match in numbers if match), default=0) + 1
            log = self._logs / f"setup-{number:03d}.log"
            log.touch()
        return log

    def running(self, pid: int) -> None:
        """Remember the command that was just started, for the setup after this one's sudden death."""
        with written(self._running):
            write_json(self._running, {"pid": pid, "birth": alive.birth(pid), "host": socket.gethostname()})

    def ended(self) -> None:
        self._running.unlink(missing_ok=True)

    def _wait_for_left_over(self) -> None:
        """A git or pip that outlived its setup would write into what this one repairs."""
        left = read_json(self._running)
        group = left.get("pid")
        if isinstance(group, int) and left.get("host") == socket.gethostname():
            until = time.monotonic() + _LEFT_OVER_SECONDS
            while _still_runs(group, left.get("birth")):
                if time.monotonic() > until:
                    text = f"A command of an earlier, killed setup is still running (process {group})."
                    raise MachineError(text, fix=f"stop it with: kill -- -{group}")
                time.sleep(0.1)
        self.ended()


def _still_runs(group: int, birth: object) -> bool:
    born = alive.birth(group)
    if born is not None and born != birth:
        return False  # the number belongs to somebody else by now
    return alive.group_alive(group)
