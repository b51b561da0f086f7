"""The only place of the project that starts processes (POSIX: sessions, process groups, poll on pipes).

One thread does everything: it waits on the pipes with a short timeout and looks at the processes and the stop
request in between. So nothing can deadlock, a slow reader slows a child down by full pipes instead of
filling memory, and the caller's functions are called in the caller's thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from wan22lora.errors import MachineError
from wan22lora.run import guard
from wan22lora.run.alive import group_alive
from wan22lora.run.ending import Ending, end_group, has_exited
from wan22lora.run.pipes import POLL_SECONDS, Pipes, Stream
from wan22lora.run.stop import StopRequest
from wan22lora.trainer.waiting import GO

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


class Child:
    """A program under way in a process group of its own; `advance`, called often, moves it on.

    `env` is the whole environment; `on_chunk` gets the output as it comes, from within `advance`. Closed before its
    end, it leaves nothing of the group either. One that waits is told by `begin` that its turn has come
    (trainer/waiting.py); until then its output stays in the pipes.

    Raises MachineError if the program cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        *,
        on_chunk: Callable[[Stream, bytes], None],
        waits: bool = False,
        grace_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_chunk, self._clock = on_chunk, clock
        self._started = clock()
        self._exited_at: float | None = None
        with ExitStack() as stack:
            watch = stack.enter_context(_guarding(grace_seconds))
            self._process = stack.enter_context(_spawned(argv, cwd, env, waits=waits))
            watch(self._process.pid)
            self._pipes = Pipes(self._process)
            stack.callback(self._pipes.close)
            self._ending = Ending(self._process.pid, grace_seconds, clock)
            self._stack = stack.pop_all()

    @property
    def pid(self) -> int:
        """The process's number, which is the group's number too."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not has_exited(self._process)

    def begin(self, on_chunk: Callable[[Stream, bytes], None]) -> bool:
        """Tell a program that waits to begin, and hand its output to `on_chunk`; False if it cannot be told any more.

        Its seconds count from here.
        """
        assert self._process.stdin is not None
        self._on_chunk, self._started = on_chunk, self._clock()
        try:
            self._process.stdin.write(GO)
            self._process.stdin.close()
        except OSError:
            return False
        return True

    def advance(self, requests: int, wait_seconds: float = POLL_SECONDS) -> ProcessResult | None:
        """Hand over its output, waiting for it at most `wait_seconds`; the result once nothing of the group is left.

        The first stop request sends SIGINT to the whole group, SIGTERM after `grace_seconds` and SIGKILL after as long
        again, but 5 s at most; a second one kills at once.
        """
        if not self._over():
            self._pipes.deliver(self._on_chunk, wait_seconds)
            self._ending.advance(requests)
            if self._exited_at is None and has_exited(self._process):
                self._exited_at = self._clock()
            if self._exited_at is not None and not requests and self._clock() - self._exited_at > _LINGER_SECONDS:
                self._ending.kill()
            return None
        end_group(self._process)
        self._pipes.drain(self._on_chunk, until=self._clock() + _DRAIN_SECONDS, clock=self._clock)
        self.close()
        code = self._process.returncode
        number = -code if code < 0 else None
        return ProcessResult(
            128 + number if number is not None else code, number, self._clock() - self._started, self.pid
        )

    def close(self) -> None:
        self._stack.close()

    def _over(self) -> bool:
        return self._ending.killed or (self._exited_at is not None and not group_alive(self._process.pid))


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
    """Run one program to its end and hand over its output as it comes.

    `on_start` gets the process's number; `on_tick` is called every 50 ms or more often. A KeyboardInterrupt counts as a
    stop request. On return, and when one of the functions raises, nothing of the process group is left. If this process
    itself is killed, a guard process ends the group, as gently.

    Raises MachineError if the program cannot be started.
    """
    child = Child(argv, cwd, env, on_chunk=on_chunk, grace_seconds=grace_seconds, clock=clock)
    try:
        if on_start is not None:
            on_start(child.pid)
        result = None
        while result is None:
            try:
                result = child.advance(stop.count)
                if on_tick is not None and result is None:
                    on_tick()
            except KeyboardInterrupt:
                stop.request(signal.SIGINT)
        return result
    finally:
        child.close()


@contextmanager
def _spawned(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str], *, waits: bool
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        child = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE if waits else subprocess.DEVNULL,
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
        if child.stdin is not None:
            child.stdin.close()


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
