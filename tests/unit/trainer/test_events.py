"""The lines that the trainer appends to the ledger."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.trainer.events import Events


def lines_of(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger.read_text(encoding="ascii").splitlines()]


def test_an_event_is_one_line_with_its_time_name_and_step(tmp_path: Path) -> None:
    ledger = tmp_path / "events.jsonl"
    Events(ledger, "train-high").emit("state", path=tmp_path / "a\nb", step=3)
    (line,) = lines_of(ledger)
    assert line.pop("t") > 1e9
    assert line == {"event": "state", "id": "train-high", "path": str(tmp_path / "a\nb"), "step": 3}


def test_numbers_that_are_none_become_words(tmp_path: Path) -> None:
    ledger = tmp_path / "events.jsonl"
    Events(ledger, "x").emit("train-step", loss=math.nan, losses={"diffusion": math.inf}, all=[(1.5, -math.inf)])
    (line,) = lines_of(ledger)
    assert (line["loss"], line["losses"], line["all"]) == ("nan", {"diffusion": "inf"}, [[1.5, "inf"]])


def test_what_is_there_stays_and_lines_of_two_writers_follow_each_other(tmp_path: Path) -> None:
    ledger = tmp_path / "events.jsonl"
    ledger.write_text('{"event": "run-started"}\n', encoding="ascii")
    one, other = Events(ledger, "one"), Events(ledger, "other")
    for number in range(3):
        one.emit("warning", text=f"{number}")
        other.emit("warning", text=f"{number}")
    assert [line.get("id") for line in lines_of(ledger)] == [None, *["one", "other"] * 3]


def test_a_line_torn_by_a_power_cut_does_not_swallow_the_next(tmp_path: Path) -> None:
    ledger = tmp_path / "events.jsonl"
    ledger.write_text('{"event": "train-st', encoding="ascii")
    events = Events(ledger, "x")
    events.emit("epoch", epoch=1)
    events.emit("epoch", epoch=2)
    torn, *whole = ledger.read_text(encoding="ascii").splitlines()
    assert torn == '{"event": "train-st'
    assert [json.loads(line)["epoch"] for line in whole] == [1, 2]


def test_a_line_that_was_written_in_part_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = tmp_path / "events.jsonl"
    events, write = Events(ledger, "x"), os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:10]))
    events.emit("epoch", epoch=1)
    monkeypatch.undo()
    events.emit("epoch", epoch=2)
    torn, whole = ledger.read_text(encoding="ascii").splitlines()
    assert len(torn) == 10
    assert json.loads(whole)["epoch"] == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_does_not_end_the_training() -> None:
    Events(Path("/dev/full"), "x").emit("warning", text="lost")


def test_the_step_told_last_is_remembered(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl", "x")
    assert events.optimizer_step == 0
    events.emit("train-step", step=7)
    events.emit("warning", text="no step")
    assert events.optimizer_step == 7


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=ANYTHING)
def test_every_event_is_one_line_of_json(value: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    ledger = tmp_path_factory.mktemp("ledger") / "events.jsonl"
    Events(ledger, "x").emit("anything", value=value)
    assert [line["event"] for line in lines_of(ledger)] == ["anything"]
