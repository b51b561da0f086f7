"""The averaged LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .asking import ask


@pytest.fixture(scope="module")
def answer(
    musubi_python: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    return ask(musubi_python, environment, "ask_ema", tmp_path_factory.mktemp("ema"))


def test_the_average_follows_with_a_decay_that_warms_up(answer: dict[str, Any]) -> None:
    average = 0.0
    for step, value in enumerate(answer["path"], start=1):
        stays = min(0.9, (1 + step) / (10 + step))
        average = stays * average + (1 - stays) * value
    assert answer["inside"] == pytest.approx(average, rel=1e-5)


def test_the_parameters_get_their_own_values_back_bit_for_bit(answer: dict[str, Any]) -> None:
    assert answer["restored"]


def test_a_resumed_average_is_the_one_that_never_stopped(answer: dict[str, Any]) -> None:
    assert answer["same"]
    assert answer["dtypes"] == ["torch.float32", "torch.float32"]


def test_the_averages_of_another_lora_are_refused(answer: dict[str, Any]) -> None:
    assert "other parameters" in answer["refused"]
