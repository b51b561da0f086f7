"""An endpoint is asked as much at once as it takes, waits are kept, and every question comes to an end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan22lora.captions.endpoint import Trouble, asked_to_wait
from wan22lora.captions.pace import Attempt, Pace

NOON = 784_111_777.0
"""Sun, 06 Nov 1994 08:49:37 GMT"""


def full(wait: float | None = None) -> Trouble:
    return Trouble("429", passing=True, crowd="refused", wait=wait)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT"}, 30),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:07 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3),
    ],
)
def test_what_an_endpoint_asks_to_wait_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_to_wait(headers, NOON) == seconds


@given(st.text())
def test_any_header_is_survived(text: str) -> None:
    wait = asked_to_wait({"retry-after": text}, NOON)
    assert wait is None or wait > 0


def test_the_first_question_goes_alone() -> None:
    pace = Pace(4, 2)
    assert pace.may_start(0, 0.0)
    assert not pace.may_start(1, 0.0)
    pace.answered()
    assert pace.may_start(3, 0.0)
    assert not pace.may_start(4, 0.0)


def test_a_refusal_halves_what_is_asked_once_for_all_that_were_under_way() -> None:
    pace = Pace(8, 4)
    pace.answered()
    under_way = [Attempt(order, started=1.0) for order in range(8)]
    for attempt in under_way:
        assert pace.failed(attempt, full(30), 2.0)
        assert attempt.not_before == 32.0
    assert pace.limit == 4
    assert [attempt.tries for attempt in under_way] == [1, 0, 0, 0, 0, 0, 0, 0]
    assert not pace.may_start(0, 31.9)
    assert pace.may_start(3, 32.0)
    for _ in range(4 + 5 + 6 + 7):
        pace.answered()
    assert pace.limit == 8


def test_pauses_grow_until_there_is_an_answer() -> None:
    pace, now, pauses = Pace(1, 99), 1.0, []
    for _ in range(7):
        pace.failed(Attempt(0, started=now), full(), now)
        pauses.append(pace.paused_until - now)
        now = pace.paused_until
    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    pace.answered()
    pace.failed(Attempt(0, started=now + 1), full(), now + 1)
    assert pace.paused_until == now + 3


def test_timeouts_count_and_ask_less_but_make_nobody_wait() -> None:
    pace = Pace(4, 1)
    pace.answered()
    timeout = Trouble("had no answer", passing=True, crowd="timeout")
    attempts = [Attempt(order, started=1.0) for order in range(4)]
    assert all(pace.failed(attempt, timeout, 121.0) for attempt in attempts)
    assert (pace.limit, pace.paused_until) == (2, 0.0)
    assert [attempt.tries for attempt in attempts] == [1, 1, 1, 1]
    assert not pace.failed(Attempt(0, tries=1, started=122.0), timeout, 242.0)


@pytest.mark.parametrize(
    ("trouble", "again"),
    [
        (Trouble("500", passing=True), True),
        (Trouble("400"), False),
        (Trouble("401", final=True), False),
        (Trouble("429", final=True, passing=True, crowd="refused"), False),
    ],
)
def test_only_what_passes_is_tried_again(trouble: Trouble, again: bool) -> None:
    assert Pace(1, 1).failed(Attempt(0, started=1.0), trouble, 2.0) == again


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 12), st.sampled_from([None, 0.5, 20.0]))
def test_an_endpoint_that_takes_only_so_many_answers_them_all(
    at_once: int, questions: int, takes: int, wait: float | None
) -> None:
    """A simulated endpoint takes a second for an answer and refuses those that are too many at once."""
    pace, now = Pace(at_once, 10), 0.0
    waiting, under_way, answered = [Attempt(order) for order in range(questions)], list[Attempt](), 0
    while waiting or under_way:
        ready = [attempt for attempt in waiting if attempt.not_before <= now]
        while ready and pace.may_start(len(under_way), now):
            attempt = ready.pop(0)
            waiting.remove(attempt)
            attempt.started = now
            under_way.append(attempt)
        assert len(under_way) <= at_once
        now += 1.0
        for place, attempt in enumerate(under_way):
            if place < takes:
                pace.answered()
                answered += 1
            else:
                assert pace.failed(attempt, full(wait), now), "given up although others were answered"
                waiting.insert(0, attempt)
        under_way = []
        assert 1 <= pace.limit <= at_once
        assert now < 100_000
    assert answered == questions
