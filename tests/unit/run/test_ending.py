"""In what order a process group gets its signals."""

from __future__ import annotations

import signal

import pytest

from wan22lora.run import ending
from wan22lora.run.ending import Ending


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    numbers: list[int] = []
    monkeypatch.setattr(ending, "_signal_group", lambda _, number: numbers.append(number))
    return numbers


def test_signals_come_one_after_another_and_each_once(sent: list[int]) -> None:
    times = [100.0, 101.0, 110.0, 111.0, 115.0, 116.0]
    clock = iter(times)
    group = Ending(1, 10.0, lambda: next(clock))
    group.advance(0)
    assert sent == []
    for _ in times:
        group.advance(1)
    assert sent == [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]


def test_a_group_that_is_to_end_at_once_is_not_asked_first(sent: list[int]) -> None:
    """Asked, it could still tell that it was interrupted, and be thought to have failed of that."""
    Ending(1, 10.0, lambda: 0.0).advance(2)
    assert sent == [signal.SIGKILL]
