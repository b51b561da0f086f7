"""The only place of the project that starts processes (POSIX: sessions, process groups, poll on pipes).

One thread does everything: it waits on both pipes with a short timeout and looks at the process and the stop
request in between. So nothing can deadlock, a slow reader slows the child down by full pipes instead of
filling memory, and the caller's functions are called in the caller's thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wan22lora.errors import MachineError
from wan22lora.run import guard
from wan22lora.run.alive import group_alive
from wan22lora.run.ending import Ending, end_group, has_exited
from wan22lora.run.pipes import Pipes, Stream
from wan22lora.run.stop import StopRequest

_LINGER_SECONDS = 2.0
"""What data-loader workers and the like may take to notice that the main process ended by itself."""
_DRAIN_SECONDS = 2.0
"""How long a process that left the group, but kept our pipe, may still write."""


@dataclass(frozen=True)
class ProcessResult:
    """How a process ended."""

    exit_code: int
    """As a shell shows it: 128 + n for a death by signal n."""
    signal: int | None
    seconds: float
    pid: int


def run_process(
    argv: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    *,
    on_chunk: Callable[[Stream, bytes], None],
    stop: StopRequest,
    on_start: Callable[[int], None] | None = None,
    on_tick: Callable[[], None] | None = None,
    grace_seconds: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
) -> ProcessResult:
    """Run a program in a process group of its own and hand over its output as it comes.

    `env` is the whole environment. `on_start` gets the process's number, which is the group's number too;
    `on_tick` is called every 50 ms or more often. A first stop request (or a KeyboardInterrupt) sends SIGINT
    to the whole group, SIGTERM after `grace_seconds` and SIGKILL after as long again, but 5 s at most; a
    second request kills at once. On return, and when one of the functions raises, nothing of the group is
    left. If this process itself is killed, a guard process ends the group, as gently.

    Raises MachineError if the program cannot be started.
    """
    started = clock()
    with _guarding(grace_seconds) as watch, _spawned(argv, cwd, env) as child:
        watch(child.pid)
        ending = Ending(child.pid, grace_seconds, clock)
        pipes = Pipes(child)
        exited_at: float | None = None
        try:
            if on_start is not None:
                on_start(child.pid)
            while not ending.killed and (exited_at is None or group_alive(child.pid)):
                try:
                    pipes.deliver(on_chunk)
                    if on_tick is not None:
                        on_tick()
                except KeyboardInterrupt:
                    stop.request(signal.SIGINT)
                ending.advance(stop.count)
                if exited_at is None and has_exited(child):
                    exited_at = clock()
                if exited_at is not None and not stop.count and clock() - exited_at > _LINGER_SECONDS:
                    ending.kill()
            end_group(child)
            pipes.drain(on_chunk, until=clock() + _DRAIN_SECONDS, clock=clock)
        finally:
            pipes.close()
    number = -child.returncode if child.returncode < 0 else None
    exit_code = 128 + number if number is not None else child.returncode
    return ProcessResult(exit_code, number, clock() - started, child.pid)


@contextmanager
def _spawned(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        raise _cannot_start(argv[0], cwd, error) from None
    try:
        yield child
    finally:
        end_group(child)


def _cannot_start(program: str, cwd: Path, error: OSError) -> MachineError:
    if not cwd.is_dir():
        return MachineError(f"The working directory {cwd} does not exist or is not a directory.")
    if isinstance(error, FileNotFoundError):
        return MachineError(f"The program {program} does not exist.")
    if isinstance(error, PermissionError):
        return MachineError(f"The program {program} is not executable, or you may not run it.")
    return MachineError(f"The program {program} cannot be started: {error.strerror}.")


@contextmanager
def _guarding(grace_seconds: float) -> Iterator[Callable[[int], None]]:
    """Start a guard process (run/guard.py); yields the function that tells it which group to watch."""
    reading, writing = os.pipe()
    try:
        guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(guard.__file__)), str(grace_seconds)],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        os.close(writing)
        raise _cannot_start(sys.executable, Path("/"), error) from None
    finally:
        os.close(reading)

    def tell(text: str) -> None:
        with suppress(BrokenPipeError):  # somebody killed the guard; the run does not depend on it
            os.write(writing, f"{text}\n".encode("ascii"))

    try:
        yield lambda group: tell(str(group))
    finally:
        tell("done")
        os.close(writing)
        guardian.wait()
