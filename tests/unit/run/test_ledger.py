"""The ledger: what is appended comes back, whatever happened to the file in between."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from wan22lora.errors import RunFolderError
from wan22lora.run.ledger import Ledger, read_events
from wan22lora.run.state import fold

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def write(path: Path, *events: dict[str, object]) -> bytes:
    ticks = itertools.count(1000.0)
    with Ledger(path, now=lambda: next(ticks)) as ledger:
        for event in events:
            fields = dict(event)
            ledger.append(str(fields.pop("event")), **fields)
    return path.read_bytes()


HISTORY: tuple[dict[str, object], ...] = (
    {"event": "run-started", "name": "démo", "rehearsal": False, "steps": ["cache-text", "train"]},
    {"event": "step-skipped", "id": "cache-text", "why": "nothing changed"},
    {"event": "step-started", "id": "train", "argv": ["python", "学習.py"], "total": 3, "pid": 7, "pgid": 7},
    {"event": "train-step", "id": "train", "step": 1, "total": 3, "loss": 0.5, "seconds": None},
    {"event": "checkpoint", "id": "train", "path": Path("output/a-000001.safetensors")},
    {"event": "step-ended", "id": "train", "outcome": "failed", "exit_code": 1, "seconds": 9.5},
    {"event": "run-ended", "outcome": "failed"},
)


def test_events_come_back_in_order_with_their_time(tmp_path: Path) -> None:
    write(tmp_path / "events.jsonl", *HISTORY)
    events = list(read_events(tmp_path / "events.jsonl"))
    assert [event["event"] for event in events] == [event["event"] for event in HISTORY]
    assert events[0]["t"] == 1000.0
    assert events[0]["name"] == "démo"
    assert events[4]["path"] == "output/a-000001.safetensors"


def test_every_line_is_json_of_one_line_and_plain_ascii(tmp_path: Path) -> None:
    content = write(tmp_path / "events.jsonl", *HISTORY)
    assert content.isascii()
    assert len([json.loads(line) for line in content.splitlines()]) == len(HISTORY)


def test_a_second_writer_continues_the_file(tmp_path: Path) -> None:
    first = write(tmp_path / "events.jsonl", HISTORY[0])
    assert write(tmp_path / "events.jsonl", HISTORY[6]).startswith(first)


def test_a_missing_file_has_no_events(tmp_path: Path) -> None:
    assert list(read_events(tmp_path / "none.jsonl")) == []


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_json_cannot_hold_survives(tmp_path: Path, loss: float) -> None:
    step = {"event": "train-step", "id": "train", "step": 1, "total": 3, "loss": loss, "seconds": None}
    write(tmp_path / "events.jsonl", HISTORY[2], step)
    folded = fold(read_events(tmp_path / "events.jsonl")).steps["train"].loss
    assert folded is not None
    assert math.isnan(folded) if math.isnan(loss) else folded == loss


def test_a_ledger_torn_at_any_byte_keeps_every_whole_line_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)
    whole = write(tmp_path / "whole.jsonl", *HISTORY)
    path = tmp_path / "events.jsonl"
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        kept = whole[:end].count(b"\n") + (end < len(whole) and whole[end : end + 1] == b"\n")
        events = list(read_events(path))
        assert len(events) == kept
        fold(events)
        with Ledger(path) as ledger:
            ledger.append("run-ended", outcome="done")
        assert [event["event"] for event in read_events(path)][kept:] == ["run-ended"]


def test_a_torn_line_among_many_costs_none_of_the_others(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = [json.dumps({"t": number, "event": "note", "text": "x" * 90}) for number in range(3000)]
    for number, damage in ((7, "{"), (1000, ""), (1001, '{"t":1,"event":"a"},{"t":2,"event":"b"}'), (2999, '{"event')):
        lines[number] = damage
    path.write_text("\n".join(lines))
    assert [event["t"] for event in read_events(path)] == [n for n in range(2999) if n not in (7, 1000, 1001)]


def test_a_long_ledger_is_parsed_by_the_hundred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls = tmp_path / "events.jsonl", [0]
    path.write_text("".join(f'{{"t":{number},"event":"note","text":"{"x" * 300}"}}\n' for number in range(10_000)))

    def counted(parser: Callable[[str], object]) -> Callable[[str], object]:
        def parse(text: str) -> object:
            calls[0] += 1
            return parser(text)

        return parse

    monkeypatch.setattr("wan22lora.run.ledger.from_json", counted(from_json))
    monkeypatch.setattr(json, "loads", counted(json.loads))
    assert sum(1 for _ in read_events(path)) == 10_000
    assert calls[0] <= 10_000 / 50


@given(st.lists(st.dictionaries(st.text(), VALUES), max_size=5))
def test_events_parsed_together_hold_what_each_line_holds(
    tmp_path_factory: pytest.TempPathFactory, fields: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "events.jsonl"
    lines = [json.dumps({**each, "event": "note"}) for each in fields]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    assert repr(list(read_events(path))) == repr([json.loads(line) for line in lines])  # 1 == 1.0, and nan != nan


@given(st.binary(max_size=300))
def test_no_bytes_in_the_file_can_make_reading_fail(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.mktemp("ledger") / "events.jsonl"
    path.write_bytes(junk)
    before = len(list(read_events(path)))
    with Ledger(path) as ledger:
        ledger.append("run-ended", outcome="done")
    assert len(list(read_events(path))) == before + 1


def test_a_ledger_that_is_a_folder_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").mkdir()
    with pytest.raises(RunFolderError, match=r"events\.jsonl cannot be read: Is a directory"):
        list(read_events(tmp_path / "events.jsonl"))
