"""Which state a training continues from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from wan22lora.trainer.finding import FORMAT, found_at, in_order_of_steps, newest_state


def write_state(folder: Path, step: int, name: str = "", facts: Mapping[str, object] | None = None) -> Path:
    path = folder / (name or f"step-{step:08d}")
    path.mkdir(parents=True)
    (path / "state.pt").write_bytes(b"tensors")
    told = {"format": FORMAT, "bytes": 7, "step": step, **(facts or {})}
    (path / "state.json").write_text(json.dumps(told), encoding="utf-8")
    return path


def test_the_newest_is_the_one_of_the_highest_step(tmp_path: Path) -> None:
    for step in (120, 99999999, 100000000, 80):
        write_state(tmp_path, step)
    newest = newest_state(tmp_path)
    assert newest is not None
    assert newest.path.name == "step-100000000"
    assert newest.facts["step"] == 100000000


@pytest.mark.parametrize("name", [".writing-step-00000009", "step-9", "step-00000009.old", "key.json"])
def test_other_names_are_no_states(name: str, tmp_path: Path) -> None:
    write_state(tmp_path, 9, name)
    assert in_order_of_steps(tmp_path) == []
    assert newest_state(tmp_path) is None


@pytest.mark.parametrize("facts", [{"bytes": 8}, {"format": FORMAT + 1}, {"bytes": None}])
def test_a_state_of_another_size_or_format_is_passed_over(facts: dict[str, object], tmp_path: Path) -> None:
    whole = write_state(tmp_path, 1)
    damaged = write_state(tmp_path, 2, facts=facts)
    assert found_at(damaged) is None
    newest = newest_state(tmp_path)
    assert newest is not None
    assert newest.path == whole


@pytest.mark.parametrize("content", ["", "[]", "{", '"text"'])
def test_so_is_one_that_does_not_say_what_it_is(content: str, tmp_path: Path) -> None:
    (write_state(tmp_path, 2) / "state.json").write_text(content, encoding="utf-8")
    assert newest_state(tmp_path) is None


@pytest.mark.parametrize("file", ["state.json", "state.pt"])
def test_and_one_that_lost_a_file(file: str, tmp_path: Path) -> None:
    (write_state(tmp_path, 2) / file).unlink()
    assert newest_state(tmp_path) is None


def test_where_there_is_no_folder_there_is_no_state(tmp_path: Path) -> None:
    assert newest_state(tmp_path / "none") is None
