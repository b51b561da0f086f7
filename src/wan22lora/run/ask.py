"""A short question to a program: start it, wait, and hand back what it printed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wan22lora.run.pipes import Stream
from wan22lora.run.process import run_process
from wan22lora.run.stop import StopRequest

_MOST_BYTES = 1 << 22
"""Kept of each stream; a program that floods must not fill memory."""


@dataclass(frozen=True)
class Answer:
    """How a program ended and what it printed, as UTF-8 with damaged characters replaced."""

    exit_code: int
    """As a shell shows it: 128 + n for a death by signal n."""
    stdout: str
    stderr: str
    timed_out: bool = False
    """It was killed because the time was over; the exit code is then 137."""

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and not self.timed_out

    @property
    def last_line(self) -> str:
        """The last line that says something, of the error stream before the other; empty if there is none."""
        lines = [line.strip() for stream in (self.stdout, self.stderr) for line in stream.splitlines() if line.strip()]
        return lines[-1] if lines else ""


def ask(
    argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float
) -> Answer:
    """Run a program to its end, or kill it and everything it started after `timeout` seconds.

    `env` is the whole environment; without it the program gets this process's. Raises MachineError if the program
    cannot be started, and KeyboardInterrupt when Ctrl-C ended it.
    """
    streams: dict[Stream, bytearray] = {"out": bytearray(), "err": bytearray()}
    stop = StopRequest()
    until = time.monotonic() + timeout
    timed_out = False

    def on_chunk(stream: Stream, data: bytes) -> None:
        kept = streams[stream]
        kept += data[: _MOST_BYTES - len(kept)]

    def on_tick() -> None:
        nonlocal timed_out
        if not timed_out and not stop.count and time.monotonic() > until:
            timed_out = True
            for _ in range(2):  # the second request kills at once
                stop.request()

    result = run_process(
        argv,
        cwd or Path.cwd(),
        os.environ if env is None else env,
        on_chunk=on_chunk,
        stop=stop,
        on_tick=on_tick,
        grace_seconds=2.0,
    )
    if stop.count and not timed_out:
        raise KeyboardInterrupt
    stdout, stderr = (bytes(streams[stream]).decode("utf-8", "replace") for stream in ("out", "err"))
    return Answer(result.exit_code, stdout, stderr, timed_out)
