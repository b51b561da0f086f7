"""What a killed wan22lora left running: waited for, told, and no obstacle once it is gone."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from wan22lora.errors import RunFolderError
from wan22lora.run import alive
from wan22lora.run.folder import RunFolder
from wan22lora.run.ledger import Ledger
from wan22lora.run.left_running import refuse_left_running, wait_for_left_running


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.create()
    return folder


def left_both(folder: RunFolder) -> None:
    own = {"pid": os.getpid(), "pgid": os.getpgrp(), "birth": alive.birth(os.getpid()), "host": socket.gethostname()}
    with Ledger(folder.events) as ledger:
        ledger.append("run-started", name="demo", rehearsal=False, steps=["train-high", "train-low"])
        for step in ("train-high", "train-low"):
            ledger.append("step-started", id=step, argv=[], total=1, **own)
            ledger.append("training-begun", id=step, step=0, total=9, epoch=1, epochs=1, state=None)


def left(folder: RunFolder, *, begun: bool = False, **changes: object) -> None:
    own = {"pid": os.getpid(), "pgid": os.getpgrp(), "birth": alive.birth(os.getpid()), "host": socket.gethostname()}
    with Ledger(folder.events) as ledger:
        ledger.append("run-started", name="demo", rehearsal=False, steps=["train-high"])
        ledger.append("step-started", id="train-high", argv=[], total=1, **{**own, **changes})
        if begun:
            ledger.append("training-begun", id="train-high", step=0, total=9, epoch=1, epochs=1, state=None)


def test_a_training_that_still_saves_its_state_is_left_to_it(folder: RunFolder) -> None:
    left(folder, begun=True)
    with pytest.raises(RunFolderError) as caught:
        refuse_left_running(folder.path, 30)
    assert f"train-high of an earlier, killed run is still running (process {os.getpid()})" in str(caught.value)
    by_itself, last_resort = caught.value.fix.splitlines()
    assert by_itself == "it ends by itself, saving a state (30 s at most): type the same command again then"
    assert (
        last_resort
        == f"→ only if that never happens: kill -KILL -- -{os.getpgrp()} ends it at once and loses that state"
    )


def test_what_has_no_state_to_save_only_ends(folder: RunFolder) -> None:
    left(folder)
    with pytest.raises(RunFolderError) as caught:
        refuse_left_running(folder.path, 30)
    assert "state" not in caught.value.fix


@pytest.mark.skipif(alive.birth(os.getpid()) is None, reason="needs /proc")
def test_a_number_that_belongs_to_somebody_else_by_now_is_no_obstacle(folder: RunFolder) -> None:
    left(folder, birth=1)
    refuse_left_running(folder.path, 30)


@pytest.mark.parametrize(
    "changes", [{"pid": 2**22 + 1, "pgid": 2**22 + 1}, {"host": "elsewhere"}, {"pid": None}, {"pgid": "x"}]
)
def test_a_step_that_is_gone_or_elsewhere_is_no_obstacle(folder: RunFolder, changes: dict[str, Any]) -> None:
    left(folder, **changes)
    refuse_left_running(folder.path, 30)


def test_a_step_that_ended_is_no_obstacle(folder: RunFolder) -> None:
    left(folder)
    with Ledger(folder.events) as ledger:
        ledger.append("step-ended", id="train-high", outcome="failed", exit_code=1, seconds=1.0)
    refuse_left_running(folder.path, 30)


class Waiting:
    """A clock that sleeping alone moves, and a process that ends at a second of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ends_at: float) -> None:
        self.time = 0.0
        self.told: list[str] = []
        monkeypatch.setattr(alive, "group_alive", lambda group: self.time < ends_at)

    def wait(self, folder: RunFolder, grace_seconds: float) -> None:
        wait_for_left_running(folder.path, grace_seconds, self.told.append, clock=lambda: self.time, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.time += seconds


def test_its_end_is_waited_for_with_one_line(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    left(folder, begun=True)
    waiting = Waiting(monkeypatch, ends_at=7)
    waiting.wait(folder, 30)
    assert waiting.told == ["train-high of a killed run is saving a state (30 s at most); waiting for it"]
    assert 7 <= waiting.time < 8


def test_what_outlives_its_grace_is_waited_for_no_longer(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    left(folder)
    waiting = Waiting(monkeypatch, ends_at=1000)
    waiting.wait(folder, 12)
    assert waiting.told == ["train-high of a killed run is ending (12 s at most); waiting for it"]
    assert 12 < waiting.time < 16


def test_a_run_that_lives_is_not_waited_for(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    left(folder)
    waiting = Waiting(monkeypatch, ends_at=1000)
    with folder.lock():
        waiting.wait(folder, 12)
    assert waiting.told == []


def test_two_that_trained_at_the_same_time_are_both_told(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    left_both(folder)
    with pytest.raises(RunFolderError) as caught:
        refuse_left_running(folder.path, 30)
    pid, group = os.getpid(), os.getpgrp()
    assert f"train-high and train-low of an earlier, killed run are still running (processes {pid} and {pid})" in str(
        caught.value
    )
    assert f"kill -KILL -- -{group} -{group} ends them at once and loses that state" in caught.value.fix
    waiting = Waiting(monkeypatch, ends_at=7)
    waiting.wait(folder, 30)
    assert [line.split()[0] for line in waiting.told] == ["train-high", "train-low"]
    assert 7 <= waiting.time < 8
