"""What a signal does to the trainer at which time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from wan22lora.trainer.failing import TrainingStopped
from wan22lora.trainer.stopping import LISTENED, Stop, Workers


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in LISTENED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def stop() -> Stop:
    stop = Stop()
    stop.listen()
    return stop


class Exited(Exception):
    """In place of the end of the process."""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise Exited

    monkeypatch.setattr(os, "_exit", leave)
    return codes


@pytest.mark.parametrize("number", LISTENED)
def test_before_the_first_batch_a_signal_stops_at_once(stop: Stop, number: signal.Signals) -> None:
    with pytest.raises(TrainingStopped) as stopped:
        signal.raise_signal(number)
    assert stopped.value.signal == number
    assert stop.broken_off == number


@pytest.mark.parametrize("number", LISTENED)
def test_later_it_is_a_wish(stop: Stop, number: signal.Signals) -> None:
    stop.finish_batches()
    stop.raise_if_wanted()
    signal.raise_signal(number)
    assert stop.wanted
    assert stop.broken_off is None
    with pytest.raises(TrainingStopped):
        stop.raise_if_wanted()


@pytest.mark.parametrize("number", LISTENED)
def test_a_second_one_ends_the_process(stop: Stop, number: signal.Signals, exits: list[int]) -> None:
    stop.finish_batches()
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Exited):
        signal.raise_signal(number)
    assert exits == [128 + number]


def test_work_that_may_stay_undone_is_broken_off(stop: Stop) -> None:
    stop.finish_batches()
    with pytest.raises(TrainingStopped), stop.interruptible():
        signal.raise_signal(signal.SIGINT)


def test_such_work_does_not_begin_after_a_wish(stop: Stop) -> None:
    stop.finish_batches()
    signal.raise_signal(signal.SIGINT)
    begun = False
    with pytest.raises(TrainingStopped), stop.interruptible():
        begun = True
    assert not begun


def test_after_such_work_a_signal_is_a_wish_again(stop: Stop) -> None:
    stop.finish_batches()
    with stop.interruptible():
        pass
    signal.raise_signal(signal.SIGINT)
    assert stop.wanted


def test_workers_listen_to_no_signal_until_the_end(exits: list[int]) -> None:
    workers = Workers()
    workers(0)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    assert exits == []
    workers.release()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(Exited):
        signal.raise_signal(signal.SIGTERM)
    assert exits == [0]
