"""The time of a step is a mean without the warm-up and without compilations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan22lora.plan.model import Step
from wan22lora.run.measuring import ENOUGH, WARM_UP, Measuring, Taken

STEP = Step("train-high", (), Path(), {})


def taken(seconds: list[Any], *, peaks: list[Any] | None = None) -> list[Taken]:
    kept: list[Taken] = []
    measuring = Measuring(STEP, lambda step, what: kept.append(what))
    for number, each in enumerate(seconds, 1):
        peak = {"gpu_peak": peaks[number - 1]} if peaks else {}
        measuring.take({"event": "train-step", "step": number, "seconds": each, **peak})
    measuring.finish()
    return kept


def test_it_is_told_after_the_warm_up_and_at_the_end() -> None:
    slow, steady = [40.0, *[3.0] * (WARM_UP - 1)], [0.5] * ENOUGH
    assert taken(slow + steady) == [Taken(ENOUGH, 0.5, None)]
    assert taken(slow + steady + [1.5] * ENOUGH) == [Taken(ENOUGH, 0.5, None), Taken(2 * ENOUGH, 1.0, None)]


@pytest.mark.parametrize("count", [0, 1, WARM_UP + ENOUGH - 1])
def test_a_short_training_says_nothing(count: int) -> None:
    assert taken([0.5] * count) == []


def test_a_later_compilation_is_left_out_and_a_slower_kind_of_step_is_not() -> None:
    steady = [0.5] * (WARM_UP + 15)
    assert taken([*steady, 30.0, *[0.5] * 15])[-1] == Taken(30, 0.5, None)
    mixed = [1.0, 1.0, 1.0, 2.5] * 25
    assert taken(mixed)[-1].seconds == pytest.approx(1.375, rel=0.02)


def test_the_highest_peak_after_the_warm_up_counts() -> None:
    peaks = [99, *[5] * (WARM_UP - 1), *[7, 8] * (ENOUGH // 2)]
    assert taken([0.5] * (WARM_UP + ENOUGH), peaks=peaks)[-1].gpu_peak == 8


@given(st.lists(st.none() | st.text(max_size=2) | st.booleans() | st.floats() | st.integers(), max_size=80))
def test_nonsense_changes_nothing(values: list[Any]) -> None:
    for told in taken([*values, *[0.5] * (WARM_UP + 3 * ENOUGH)], peaks=[*values, *[1] * (WARM_UP + 3 * ENOUGH)]):
        assert told.seconds > 0
        assert told.gpu_peak is None or told.gpu_peak > 0


def test_other_events_and_programs_that_nobody_measures_are_passed_over() -> None:
    measuring = Measuring(STEP, None)
    for number in range(100):
        measuring.take({"event": "train-step", "step": number, "seconds": 0.5})
    measuring.finish()
    kept: list[Taken] = []
    measuring = Measuring(STEP, lambda step, what: kept.append(what))
    for _ in range(100):
        measuring.take({"event": "validation", "seconds": 9.0})
        measuring.take({"event": "train-step"})
    measuring.finish()
    assert kept == []
