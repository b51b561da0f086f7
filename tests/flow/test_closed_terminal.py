"""A run whose terminal is closed ends as one that was stopped, though nobody can read what it says."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

from .conftest import Place


def test_a_closed_terminal_stops_the_run_and_gives_the_exit_code_of_its_signal(place: Place) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place.path)
        environment = {**place.environment, "TERM": "xterm", "WAN22LORA_REHEARSAL_STEP_SECONDS": "0.2"}
        os.execvpe(sys.executable, [sys.executable, "-m", "wan22lora", "train", "run.yaml", "--rehearse"], environment)
    ledger = place.run / "events.jsonl"
    deadline = time.monotonic() + 30
    while not (ledger.exists() and '"train-step"' in ledger.read_text()):
        assert time.monotonic() < deadline
        os.read(terminal, 65536)  # a terminal that nobody reads would fill
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    last = json.loads(ledger.read_text().splitlines()[-1])
    assert (last["event"], last["outcome"]) == ("run-ended", "interrupted")


def test_under_nohup_it_goes_on(place: Place) -> None:
    environment = {**place.environment, "WAN22LORA_REHEARSAL_STEP_SECONDS": "0.02"}
    command = ["nohup", sys.executable, "-m", "wan22lora", "train", "run.yaml", "--rehearse", "--only", "high"]
    with subprocess.Popen(
        command, cwd=place.path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        ledger = place.run / "events.jsonl"
        deadline = time.monotonic() + 60
        while not (ledger.exists() and '"train-step"' in ledger.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        run.send_signal(signal.SIGHUP)
        said, _ = run.communicate(timeout=120)
    assert run.returncode == 0, said.decode()
