"""A run as a process of its own: killed, and stopped by Ctrl-C at a real terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from wan22lora.run.alive import group_alive
from wan22lora.run.ledger import read_events
from wan22lora.run.state import RunState, fold

CHILDREN = Path(__file__).parent / "children"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src"), "TERM": "xterm", "PYTHONUTF8": "1"}


def command(folder: Path, fault: str) -> list[str]:
    return [sys.executable, str(CHILDREN / "driver.py"), str(folder), str(folder / "demo.safetensors"), "6", fault]


def state(folder: Path) -> RunState:
    return fold(read_events(folder / "events.jsonl"))


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def training(folder: Path) -> int:
    """Waits until the training hangs in its middle and returns its group."""
    wait_for(lambda: "train" in state(folder).steps and state(folder).steps["train"].step == 3)
    pgid = state(folder).steps["train"].pgid
    assert pgid is not None
    return pgid


def test_a_killed_run_leaves_no_process_and_a_folder_that_goes_on(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path, "hang"), env=ENVIRONMENT, stdout=subprocess.DEVNULL) as parent:
        group = training(tmp_path)
        parent.kill()
    wait_for(lambda: not group_alive(group))
    assert state(tmp_path).outcome == ""
    assert state(tmp_path).steps["train"].status == "running"
    again = subprocess.run(command(tmp_path, "none"), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert state(tmp_path).steps["train"].status == "done"


def test_a_run_whose_guard_was_killed_too_is_found_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path, "stubborn"), env=ENVIRONMENT, stdout=subprocess.DEVNULL) as parent:
        group = training(tmp_path)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        for guard in map(int, children.read_text().split()):
            if guard != group:
                os.kill(guard, 9)
        parent.kill()
    try:
        again = subprocess.run(command(tmp_path, "none"), env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert again.returncode == 7
        assert f"still running (process {group})" in again.stdout
        assert f"kill -KILL -- -{group}" in again.stdout
    finally:
        os.killpg(group, 9)


def test_ctrl_c_at_a_terminal_stops_the_training_and_says_how_to_go_on(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(sys.executable, command(tmp_path, "hang"), ENVIRONMENT)
    group = training(tmp_path)
    os.write(terminal, b"\x03")
    shown = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # how Linux tells the end of a terminal
            break
        if not data:
            break
        shown += data
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    text = shown.decode("utf-8", "replace")
    assert os.waitstatus_to_exitcode(status) == 130
    assert not group_alive(group)
    assert "3/6 (50%)" in text
    assert "stopping train" in text
    assert "Stopped during train at step 3 of 6." in text
    assert text.endswith("\x1b[?25h") or "\x1b[?25h" in text
