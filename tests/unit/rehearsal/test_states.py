"""States of a rehearsed training: whole or absent, the newest found, the old ones gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wan22lora.rehearsal.faults import Faults
from wan22lora.rehearsal.states import State, States, step_of
from wan22lora.trainer.disk import Disk
from wan22lora.trainer.events import Events
from wan22lora.trainer.failing import TrainingFailed
from wan22lora.trainer.position import Position
from wan22lora.trainer.stopping import Stop


@pytest.fixture
def states(tmp_path: Path) -> States:
    disk = Disk(Events(tmp_path / "events.jsonl", "train-high"), Stop(), 0)
    return States(tmp_path / "states", 2, disk, Faults({}))


def at(step: int) -> State:
    return State(Position(step, step // 6, step % 6, step), f"{step:064x}", 5, {"ss_session_id": "12"})


def test_there_is_none_at_first(states: States) -> None:
    assert states.newest() is None
    states.clear_unfinished()


def test_the_newest_is_found_and_holds_what_was_kept(states: States) -> None:
    for step in (8, 9, 10):
        states.save(at(step), total=20)
    path = states.newest()
    assert path is not None
    assert step_of(path) == 10
    assert states.load(path) == at(10)
    assert sorted(each.name for each in path.parent.iterdir()) == ["step-00000009", "step-00000010"]


def test_the_same_step_may_be_saved_again(states: States) -> None:
    assert states.save(at(3), total=20) == states.save(at(3), total=20)


def test_what_is_not_whole_is_passed_over(states: States, tmp_path: Path) -> None:
    old, _ = states.save(at(3), total=20)
    new, _ = states.save(at(4), total=20)
    (new / "state.pt").write_bytes(b"{")
    (tmp_path / "states" / ".writing-step-00000009").mkdir()
    (tmp_path / "states" / "step-00000007").mkdir()
    (tmp_path / "states" / "step-00000006").mkdir()
    (tmp_path / "states" / "step-00000006" / "state.json").write_text(json.dumps({"format": 2}))
    assert states.newest() == old


def test_what_changed_since_is_not_continued_from(states: States) -> None:
    path, _ = states.save(at(4), total=20)
    file = path / "state.pt"
    file.write_bytes(file.read_bytes().replace(b"12", b"13"))
    with pytest.raises(TrainingFailed, match="is damaged"):
        states.load(path)
