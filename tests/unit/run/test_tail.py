"""What two processes append to one ledger, and what each hears of the other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.run.ledger import Ledger, read_events
from wan22lora.trainer.events import Events


class Pair:
    """A ledger with a foreign writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = Ledger(path)
        self._other = os.open(path, os.O_WRONLY | os.O_APPEND)

    def other(self, data: bytes) -> None:
        os.write(self._other, data)

    def own(self, text: str) -> None:
        self.ledger.append("note", id="train", text=text)

    @property
    def heard(self) -> list[str]:
        return [str(event["event"]) for event in self.ledger.news()]

    def close(self) -> None:
        self.ledger.close()
        os.close(self._other)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path / "events.jsonl")
    yield pair
    pair.close()


def test_only_the_other_ones_lines_are_news_and_each_once(pair: Pair) -> None:
    pair.own("mine")
    pair.other(b'{"event":"a"}\n{"event":"b"}\n')
    pair.own("mine too")
    pair.other(b'{"event":"c"}\n')
    assert pair.heard == ["a", "b", "c"]
    pair.own("and again")
    assert pair.heard == []
    assert [event["event"] for event in read_events(pair.path)] == ["note", "a", "b", "note", "c", "note"]


def test_what_stood_there_before_is_no_news(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event":"old"}\n')
    with Ledger(path) as ledger:
        assert list(ledger.news()) == []


def test_half_a_line_waits_for_its_other_half(pair: Pair) -> None:
    pair.other(b'{"event":')
    assert pair.heard == []
    pair.other(b'"a"}\n{"ev')
    assert pair.heard == ["a"]
    pair.other(b'ent":"b"}\n')
    assert pair.heard == ["b"]


def test_a_line_that_its_writer_left_torn_costs_that_line_alone(pair: Pair) -> None:
    pair.other(b'{"event":"torn","t":1')
    assert pair.heard == []
    pair.own("goes on")
    pair.other(b'{"event":"a"}\n')
    assert pair.heard == ["a"]
    assert [event["event"] for event in read_events(pair.path)] == ["note", "a"]


def test_the_trainers_own_writer_is_heard_though_a_torn_line_stands_before_it(pair: Pair) -> None:
    events = Events(pair.path, "train-high")
    pair.other(b'{"event":"tor')
    events.emit("train-step", step=1, loss=float("nan"))
    pair.own("mine")
    events.emit("state", path=Path("states/step-00000001"))
    assert pair.heard == ["train-step", "state"]


def test_lines_that_are_no_events_are_left_out(pair: Pair) -> None:
    pair.other(b'\n\n[1]\nnull\n\xff\xfe\n{"t":1}\n{"event":7}\n{"event":"a"}\n')
    assert pair.heard == ["a"]


def test_a_flood_without_end_of_line_is_let_go(pair: Pair) -> None:
    for _ in range(40):
        pair.other(b"x" * 100_000)
    assert pair.heard == []
    pair.other(b'\n{"event":"a"}\n')
    assert pair.heard == ["a"]


@given(
    st.lists(
        st.one_of(st.none(), st.integers(0, 3), st.binary(max_size=20).filter(lambda data: b"\n" not in data)),
        max_size=30,
    )
)
def test_whatever_comes_in_between_every_whole_line_is_heard_once(
    tmp_path_factory: pytest.TempPathFactory, acts: list[int | bytes | None]
) -> None:
    """None: the runner writes; a number: the trainer writes so many events; bytes: the trainer dies within a line."""
    pair = Pair(tmp_path_factory.mktemp("ledger") / "events.jsonl")
    expected: list[str] = []
    heard: list[str] = []
    for number, act in enumerate(acts):
        if act is None:
            pair.own(f"{number}")
            heard += pair.heard if number % 2 else []
        elif isinstance(act, bytes):
            pair.other(act + b"{")
            pair.own("somebody died")
        else:
            names = [f"{number}-{index}" for index in range(act)]
            pair.other("".join(f'{{"event":"{name}"}}\n' for name in names).encode())
            expected += names
    heard += pair.heard
    assert heard == expected
    pair.close()
