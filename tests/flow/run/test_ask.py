"""Short questions to real programs."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from wan22lora.errors import MachineError
from wan22lora.run.ask import ask

from ..living import pid_alive


def test_both_streams_and_the_exit_code_come_back() -> None:
    answer = ask(
        [sys.executable, "-c", "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)"], timeout=20
    )
    assert (answer.exit_code, answer.stdout, answer.stderr) == (3, "one\n", "two\n")
    assert not answer.ok
    assert answer.last_line == "two"


def test_a_program_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    begun = time.monotonic()
    answer = ask([sys.executable, "-c", code], timeout=1.5, cwd=tmp_path)
    assert answer.timed_out
    assert not answer.ok
    assert time.monotonic() - begun < 10
    assert not pid_alive(int(answer.stdout))


def test_the_environment_is_the_one_given_and_the_folder_too(tmp_path: Path) -> None:
    code = "import os; print(os.environ.get('HOME'), os.environ['A'], os.getcwd())"
    answer = ask([sys.executable, "-I", "-c", code], timeout=20, cwd=tmp_path, env={"A": "b"})
    assert answer.stdout.split() == ["None", "b", str(tmp_path)]


def test_a_flood_does_not_fill_memory() -> None:
    answer = ask(
        [sys.executable, "-c", "import sys; sys.stdout.write('x' * 20_000_000); print('e', file=sys.stderr)"],
        timeout=30,
    )
    assert answer.ok
    assert len(answer.stdout) <= 1 << 22
    assert answer.stderr == "e\n"


def test_bytes_that_are_no_text_are_replaced() -> None:
    answer = ask([sys.executable, "-c", r"import os; os.write(1, b'a\xffb')"], timeout=20)
    assert answer.stdout == "a�b"


def test_a_program_that_is_not_there_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="does not exist"):
        ask([str(tmp_path / "nothing")], timeout=5)
