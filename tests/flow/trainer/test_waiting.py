"""The trainer itself, started before its turn under a Python that has no musubi-tuner."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wan22lora.trainer.waiting import GO, VARIABLE

TRAINER = Path(__file__).parents[3] / "src" / "wan22lora" / "trainer"


class Waits:
    """A trainer that was started to wait."""

    def __init__(self, place: Path) -> None:
        self.ledger = place / "events.jsonl"
        options = ["--ledger", self.ledger, "--states", place / "states", "--step_id", "train-high"]
        self.process = subprocess.Popen(
            [sys.executable, "-S", str(TRAINER), *map(str, options)],
            env={VARIABLE: "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def reads_its_pipe(self) -> bool:
        """Whether it sleeps in a read of its standard input; the kernel tells which call a process sleeps in."""
        if platform.machine() != "x86_64":
            pytest.skip("a read has another number here")
        try:
            call = Path(f"/proc/{self.process.pid}/syscall").read_text().split()
        except OSError:
            pytest.skip("the kernel does not tell what a process waits for")
        return call[:2] == ["0", "0x0"]

    def has_got_ready(self) -> None:
        end = time.monotonic() + 60
        while not self.reads_its_pipe():
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)

    def end(self, line: bytes = b"") -> tuple[int, str]:
        said, _ = self.process.communicate(line, timeout=60)
        return self.process.returncode, said.decode()

    @property
    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.ledger.read_text().splitlines()] if self.ledger.exists() else []


@pytest.fixture
def waits(tmp_path: Path) -> Iterator[Waits]:
    waits = Waits(tmp_path)
    yield waits
    waits.process.kill()
    waits.process.communicate()


def test_one_that_nobody_can_tell_any_more_ends_quietly(waits: Waits) -> None:
    assert waits.end() == (0, "")
    assert waits.events == []


def test_one_that_is_told_something_else_ends_quietly(waits: Waits) -> None:
    assert waits.end(b"no\n") == (0, "")
    assert waits.events == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_waits_ends_it_quietly(waits: Waits, number: signal.Signals) -> None:
    waits.has_got_ready()
    waits.process.send_signal(number)
    assert waits.process.wait(60) == -number
    assert waits.end() == (-number, "")
    assert waits.events == []


def test_what_cannot_be_imported_is_told_as_by_a_program_that_did_not_wait(waits: Waits, tmp_path: Path) -> None:
    waits.has_got_ready()
    assert waits.events == []
    code, said = waits.end(GO)
    assert (code, said) == (1, "this Python has no musubi_tuner on its path\nwan22lora setup\n")
    (event,) = waits.events
    assert (event["event"], event["reason"]) == ("training-failed", "wrong-musubi")


def test_a_word_that_came_before_it_was_ready_counts(waits: Waits) -> None:
    code, _ = waits.end(GO)
    assert code == 1
    (event,) = waits.events
    assert event["reason"] == "wrong-musubi"


def test_only_one_that_was_asked_to_waits(tmp_path: Path) -> None:
    options = ["--ledger", tmp_path / "events.jsonl", "--states", tmp_path / "states", "--step_id", "train-high"]
    command = [sys.executable, "-S", str(TRAINER), *map(str, options)]
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert ended.returncode == 1
    assert b'"wrong-musubi"' in (tmp_path / "events.jsonl").read_bytes()
