"""How figures read."""

from __future__ import annotations

import math
from typing import Any

import pytest

from wan22lora.run.state import StepState
from wan22lora.run.wording import duration, ending, figures, position, told


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


_BINS = [{"low": 875 + 15.625 * n, "high": 890.625 + 15.625 * n, "loss": 0.1 - 0.01 * n} for n in range(8)]


@pytest.mark.parametrize(
    ("event", "fields", "text"),
    [
        ("state", {"step": 120, "path": "x"}, "state saved at step 120"),
        (
            "validation",
            {"step": 150, "loss": 0.08124, "bins": _BINS[:1]},
            "validation at step 150: 0.08124 (875-891: 0.1)",
        ),
        (
            "validation",
            {"step": 150, "loss": 0.08124, "bins": _BINS},
            "validation at step 150: 0.08124 (875-891: 0.1, …, 984-1000: 0.03)",
        ),
        ("validation", {"step": 150, "loss": "nan", "bins": []}, "validation at step 150: nan"),
        ("paused", {"text": "no room"}, "paused: no room"),
        ("checkpoint", {"path": "/a/b.safetensors"}, "saving b.safetensors"),
        (
            "checkpoint",
            {"path": "/a/b.safetensors", "sha256": "0", "ema": "/a/b-ema.safetensors"},
            "saved b.safetensors and b-ema.safetensors",
        ),
        (
            "weights-loaded",
            {"seconds": 62, "ram_peak": 2**35, "gpu_peak": 2**34},
            "weights loaded in 1 min 2 s (32.0 GiB RAM, 16.0 GiB GPU)",
        ),
        ("weights-loaded", {"seconds": 62}, "weights loaded in 1 min 2 s"),
        ("training-begun", {"step": 120, "total": 300, "state": "s"}, "continues after step 120 of 300"),
        ("training-begun", {"step": 0, "total": 300, "state": None}, None),
        ("samples", {"step": 5, "paths": ["a.png"]}, "1 sample at step 5"),
        ("samples", {"step": 5, "paths": []}, None),
        ("train-step", {"step": 5}, None),
        ("checkpoint", {}, None),
        ("validation", {"step": 1, "loss": "?", "bins": 3}, None),
    ],
)
def test_what_a_trainer_tells_reads_as_a_line(event: str, fields: dict[str, Any], text: str | None) -> None:
    line = told({"t": 0, "event": event, **fields})
    assert (line or "").startswith(text or "")
    assert (line is None) == (text is None)
    assert len(line or "") <= 80 - len("train-high: ")
