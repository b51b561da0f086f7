"""What a training left in its states' folder: the newest whole state, whatever lies beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from wan22lora.plan.states import State, read_states


def save(folder: Path, step: int, *, total: int = 300, name: str = "", **more: object) -> Path:
    path = folder / (name or f"step-{step:08d}")
    path.mkdir(parents=True)
    (path / "state.pt").write_bytes(b"x" * 10)
    facts = {"format": 1, "step": step, "total": total, "epoch": 1, "bytes": 10, **more}
    (path / "state.json").write_text(json.dumps(facts), encoding="utf-8")
    return path


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    kept = read_states(tmp_path / "states" / "train-high")
    assert kept.newest is None
    assert kept.key == {}


def test_the_state_of_the_highest_step_is_the_newest(tmp_path: Path) -> None:
    for step in (120, 99_999_999, 100_000_000, 80):
        save(tmp_path, step)
    assert read_states(tmp_path).newest == State(tmp_path / "step-100000000", 100_000_000, 300)


def lose_the_tensors(path: Path) -> None:
    (path / "state.pt").unlink()


def cut_the_tensors(path: Path) -> None:
    (path / "state.pt").write_bytes(b"x")


def lose_the_facts(path: Path) -> None:
    (path / "state.json").unlink()


def damage_the_facts(path: Path) -> None:
    (path / "state.json").write_bytes(b"\xff{")


def be_of_another_format(path: Path) -> None:
    facts = {"format": 2, "step": 200, "total": 300, "bytes": 10}
    (path / "state.json").write_text(json.dumps(facts), encoding="utf-8")


def be_a_file(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    path.touch()


@pytest.mark.parametrize(
    "mishap", [lose_the_tensors, cut_the_tensors, lose_the_facts, damage_the_facts, be_of_another_format, be_a_file]
)
def test_a_state_that_is_not_whole_is_passed_over(tmp_path: Path, mishap: Callable[[Path], None]) -> None:
    save(tmp_path, 120)
    mishap(save(tmp_path, 200))
    newest = read_states(tmp_path).newest
    assert newest is not None
    assert newest.step == 120


def test_a_state_that_is_still_being_written_is_none(tmp_path: Path) -> None:
    save(tmp_path, 200, name=".writing-step-00000200")
    (tmp_path / "step-12").mkdir()
    assert read_states(tmp_path).newest is None


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"rank": 16}'])
def test_a_damaged_key_is_no_key(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.json").write_bytes(content)
    assert read_states(tmp_path).key == {}


def test_an_extension_without_a_state_of_its_own_leaves_the_training_finished(tmp_path: Path) -> None:
    save(tmp_path, 300)
    (tmp_path / "key.json").write_text('{"rank": "16", "epochs": "6"}', encoding="utf-8")
    (tmp_path / "finished-00000300.json").write_text('{"rank": "16"}', encoding="utf-8")
    kept = read_states(tmp_path)
    assert kept.finished == kept.key == {"rank": "16"}
    cut_the_tensors(save(tmp_path, 310, total=600))  # whole or not, it has trained further
    kept = read_states(tmp_path)
    assert kept.finished == {}
    assert kept.key == {"rank": "16", "epochs": "6"}


def test_a_finished_training_without_its_last_state_is_not_known_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "finished-00000300.json").write_text('{"rank": "16"}', encoding="utf-8")
    save(tmp_path, 290)
    assert read_states(tmp_path).finished == {}


def test_damaged_states_are_told_newest_first_down_to_the_first_whole_one(tmp_path: Path) -> None:
    for step, mishap in ((80, lose_the_facts), (120, None), (200, cut_the_tensors), (300, lose_the_tensors)):
        path = save(tmp_path, step)
        if mishap:
            mishap(path)
    assert read_states(tmp_path).damaged == (
        "step-00000300 (state.pt is missing)",
        "step-00000200 (1 byte, 10 expected)",
    )
