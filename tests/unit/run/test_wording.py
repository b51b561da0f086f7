"""How figures read."""

from __future__ import annotations

import math

import pytest

from wan22lora.run.state import StepState
from wan22lora.run.wording import duration, ending, figures, position


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (0.4, "less than a second"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3599.9, "1 h"),
        (723, "12 min 3 s"),
        (7500, "2 h 5 min"),
        (100_800, "1 d 4 h"),
    ],
)
def test_durations_show_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_shows_what_is_known() -> None:
    assert position(StepState("train", step=7)) == "7"
    assert position(StepState("train", step=7, total=300)) == "7/300 (2%)"
    assert figures(StepState("train")) == ""
    assert figures(StepState("train", loss=math.nan)) == "loss nan"
    full = StepState("train", step=120, total=300, loss=0.07961, seconds_per_step=2.944)
    assert figures(full) == "loss 0.0796, 2.94 s/step, 8 min 50 s left"


def test_a_training_past_its_total_has_nothing_left() -> None:
    assert StepState("train", step=9, total=8, seconds_per_step=2.0).seconds_left == 0


def test_endings_name_the_exit_code_of_a_failure() -> None:
    assert ending(StepState("train", "failed", started=10, ended=50, exit_code=1)) == "failed after 40 s (exit code 1)"
    assert ending(StepState("train", "failed", started=10, ended=50)) == "failed after 40 s"
    assert ending(StepState("train", "interrupted", started=10, ended=50)) == "interrupted after 40 s"
