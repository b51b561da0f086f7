"""How a process group is ended, and how one knows that it is over."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from wan22lora.errors import MachineError
from wan22lora.run.alive import group_alive

_TERM_SECONDS = 5.0
"""Between SIGTERM and SIGKILL, at most."""
_STUCK_SECONDS = 30.0
"""After SIGKILL; a process that needs longer hangs in a driver."""


class Ending:
    """From a polite request to SIGKILL, one signal after another, each to the whole group and each once."""

    def __init__(self, group: int, grace_seconds: float, clock: Callable[[], float]) -> None:
        self._group = group
        self._clock = clock
        self._due = ((0.0, signal.SIGINT), (grace_seconds, signal.SIGTERM))
        self._kill_after = grace_seconds + min(grace_seconds, _TERM_SECONDS)
        self._asked_at: float | None = None
        self._sent: set[int] = set()

    def advance(self, requests: int) -> None:
        if not requests:
            return
        now = self._clock()
        if self._asked_at is None:
            self._asked_at = now
        if requests > 1 or now - self._asked_at >= self._kill_after:
            self.kill()
            return
        for seconds, number in self._due:
            if now - self._asked_at >= seconds:
                self._send(number)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    @property
    def killed(self) -> bool:
        return signal.SIGKILL in self._sent

    def _send(self, number: int) -> None:
        if number not in self._sent:
            self._sent.add(number)
            _signal_group(self._group, number)


def has_exited(child: subprocess.Popen[bytes]) -> bool:
    """Whether the child has ended, uncollected where possible: so long nobody else gets its number."""
    if child.returncode is not None:
        return True
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return child.poll() is not None


def end_group(child: subprocess.Popen[bytes]) -> None:
    if not has_exited(child) or group_alive(child.pid):
        _signal_group(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + _STUCK_SECONDS
    while not has_exited(child) or group_alive(child.pid):
        if time.monotonic() < deadline:
            time.sleep(0.005)
            continue
        raise MachineError(
            f"Process {child.pid} does not end even by SIGKILL: it hangs in the kernel, most likely in the "
            "graphics driver. Only a restart of the machine or the container frees it."
        )
    child.wait()


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS: PermissionError for a group of zombies
        os.killpg(group, number)
