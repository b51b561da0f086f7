"""Processes that misbehave, each a real one, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.errors import MachineError
from wan22lora.run.alive import group_alive
from wan22lora.run.pipes import Stream
from wan22lora.run.process import ProcessResult, run_process
from wan22lora.run.stop import StopRequest

from ..living import pid_alive

CHILDREN = Path(__file__).parent / "children"


class Watcher:
    """Collects output and lets a test act once a certain text has appeared."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self.stop = StopRequest()
        self.pid = 0
        self._acts: list[tuple[bytes, Callable[[], None]]] = []

    def when(self, text: bytes, act: Callable[[], None]) -> Watcher:
        self._acts.append((text, act))
        return self

    def run(self, *argv: object, grace_seconds: float = 5.0, cwd: Path = CHILDREN) -> ProcessResult:
        return run_process(
            [str(each) for each in argv],
            cwd,
            os.environ,
            on_chunk=self._take,
            stop=self.stop,
            on_start=self._born,
            grace_seconds=grace_seconds,
        )

    def child(self, script: str, *argv: str, grace_seconds: float = 5.0) -> ProcessResult:
        return self.run(sys.executable, "-S", CHILDREN / script, *argv, grace_seconds=grace_seconds)

    def code(self, code: str) -> ProcessResult:
        return self.run(sys.executable, "-S", "-c", code)

    def _born(self, pid: int) -> None:
        self.pid = pid

    def _take(self, stream: Stream, data: bytes) -> None:
        if stream == "out":
            self.out += data
        else:
            self.err += data
        for text, act in [each for each in self._acts if each[0] in self.out]:
            self._acts.remove((text, act))
            act()


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


def test_an_exit_code_comes_back_as_it_is(watcher: Watcher) -> None:
    result = watcher.code("import sys; print('a'); print('b', file=sys.stderr); sys.exit(7)")
    assert (result.exit_code, result.signal, result.pid) == (7, None, watcher.pid)
    assert watcher.out == b"a\n"
    assert watcher.err == b"b\n"


def test_a_silent_program_is_a_program(watcher: Watcher) -> None:
    assert watcher.code("").exit_code == 0
    assert watcher.out + watcher.err == b""


def test_a_program_that_closes_its_streams_is_waited_for(watcher: Watcher) -> None:
    result = watcher.code("import os, time; os.close(1); os.close(2); time.sleep(0.3); os._exit(4)")
    assert result.exit_code == 4
    assert result.seconds >= 0.3


def test_death_by_sigkill_is_told_as_137(watcher: Watcher) -> None:
    result = watcher.code("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert (result.exit_code, result.signal) == (137, signal.SIGKILL)


def test_ten_megabytes_on_each_stream_arrive_whole_and_in_order(watcher: Watcher) -> None:
    assert watcher.child("flood.py").exit_code == 0
    expected = b"".join(b"%07d " % number + b"x" * 91 + b"\n" for number in range(100_000))
    assert watcher.out == expected
    assert watcher.err == expected


def test_bytes_that_are_no_text_and_no_lines_arrive_as_they_are(watcher: Watcher) -> None:
    watcher.child("returns.py")
    assert watcher.out.endswith(b"\xff\xfe\x80 end")
    assert watcher.err.count(b"\r") == 5
    assert b"\n" not in watcher.err


def test_the_child_reads_nothing_from_the_terminal(watcher: Watcher) -> None:
    watcher.code("import sys; print(repr(sys.stdin.read()))")
    assert watcher.out == b"''\n"


def test_a_stop_interrupts_a_sleeping_program(watcher: Watcher) -> None:
    result = watcher.when(b"ready", watcher.stop.request).child("stubborn.py")
    assert b"KeyboardInterrupt" in watcher.err
    assert result.seconds < 20
    assert not group_alive(result.pid)


def test_a_program_that_ignores_sigint_gets_sigterm(watcher: Watcher) -> None:
    result = watcher.when(b"ready", watcher.stop.request).child("stubborn.py", "SIGINT", grace_seconds=0.2)
    assert result.signal == signal.SIGTERM


def test_a_program_that_ignores_both_is_killed(watcher: Watcher) -> None:
    watcher.when(b"ready", watcher.stop.request)
    result = watcher.child("stubborn.py", "SIGINT", "SIGTERM", grace_seconds=0.2)
    assert result.signal == signal.SIGKILL
    assert result.exit_code == 137


def test_a_second_stop_kills_at_once(watcher: Watcher) -> None:
    def twice() -> None:
        watcher.stop.request()
        threading.Timer(0.2, watcher.stop.request).start()

    result = watcher.when(b"ready", twice).child("stubborn.py", "SIGINT", "SIGTERM", grace_seconds=30)
    assert result.signal == signal.SIGKILL
    assert result.seconds < 20


def test_a_keyboard_interrupt_in_the_caller_is_a_stop(watcher: Watcher) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    watcher.when(b"ready", interrupt).child("stubborn.py")
    assert watcher.stop.count == 1
    assert b"KeyboardInterrupt" in watcher.err


def test_what_a_launcher_launched_may_end_in_peace(watcher: Watcher) -> None:
    result = watcher.when(b"ready", watcher.stop.request).child("launcher.py")
    assert b"saved" in watcher.out
    assert result.exit_code == 130
    assert not group_alive(result.pid)


def test_a_grandchild_left_in_the_group_is_killed(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wan22lora.run.process._LINGER_SECONDS", 0.3)
    result = watcher.child("family.py", "group")
    assert result.exit_code == 3
    assert result.seconds < 20
    assert not pid_alive(int(watcher.out))


def test_a_grandchild_outside_the_group_that_keeps_the_pipes_does_not_hang_us(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wan22lora.run.process._DRAIN_SECONDS", 0.3)
    result = watcher.child("family.py", "escaped")
    try:
        assert result.exit_code == 3
        assert result.seconds < 20
    finally:
        os.kill(int(watcher.out), signal.SIGKILL)


def test_nothing_is_left_when_the_caller_fails(watcher: Watcher) -> None:
    def fail() -> None:
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        watcher.when(b"ready", fail).child("stubborn.py", "SIGINT", "SIGTERM")
    assert not group_alive(watcher.pid)


def test_no_descriptor_and_no_process_stays_behind(watcher: Watcher) -> None:
    def count() -> tuple[int, int]:
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        return len(list(Path("/dev/fd").iterdir())), len(children.read_text().split()) if children.exists() else 0

    before = count()
    for _ in range(3):
        watcher.code("print(1)")
    assert count() == before


def test_a_missing_program_is_the_machines_fault(watcher: Watcher, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="no-such-python does not exist"):
        watcher.run(tmp_path / "no-such-python", "-c", "")


def test_a_program_without_the_right_to_run_is_the_machines_fault(watcher: Watcher, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(MachineError, match="is not executable"):
        watcher.run(program)


def test_a_file_that_is_no_program_is_the_machines_fault(watcher: Watcher, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_bytes(b"\0\1\2")
    program.chmod(0o755)
    with pytest.raises(MachineError, match="cannot be started"):
        watcher.run(program)


def test_a_missing_working_directory_is_told_as_such(watcher: Watcher, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"working directory .*gone does not exist"):
        watcher.run(sys.executable, "-c", "", cwd=tmp_path / "gone")


DRIVER = """
import os, sys
from pathlib import Path
from wan22lora.run.process import run_process
from wan22lora.run.stop import StopRequest
stop = StopRequest()
with stop.listening():
    run_process(sys.argv[1:], Path("/"), os.environ, stop=stop,
                on_chunk=lambda stream, data: (sys.stdout.buffer.write(data), sys.stdout.flush()))
print("count", stop.count, stop.exit_code)
"""


def driver(*argv: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    command = [sys.executable, "-c", DRIVER, sys.executable, "-S", *argv]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while pid_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not pid_alive(pid)


def test_a_killed_parent_leaves_neither_child_nor_grandchild() -> None:
    with driver(str(CHILDREN / "family.py"), "waiting") as parent:
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        parent.kill()
    assert gone(grandchild)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_every_polite_signal_to_the_parent_interrupts_the_child(number: int, exit_code: int) -> None:
    with driver(str(CHILDREN / "stubborn.py")) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(number)
        assert parent.stdout.read().split()[-3:] == [b"count", b"1", str(exit_code).encode()]
    assert parent.returncode == 0


def test_a_parent_started_with_sigint_ignored_can_still_interrupt_its_child() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell script does for `program &`
    try:
        parent = driver(str(CHILDREN / "stubborn.py"))
    finally:
        signal.signal(signal.SIGINT, before)
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(signal.SIGINT)
        time.sleep(0.1)
        started = time.monotonic()
        parent.send_signal(signal.SIGTERM)
        assert parent.stdout.read().split()[-3:] == [b"count", b"1", b"143"]
    assert time.monotonic() - started < 20
